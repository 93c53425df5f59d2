(function () {
  const root = document.getElementById("ledger");
  const rows = [...root.querySelectorAll("tbody tr")];
  const text = root.querySelector("input[type=search]");
  const chapter = root.querySelector("select");
  const kinds = [...root.querySelectorAll("input[type=checkbox]")];
  function show() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(kinds.filter((k) => k.checked).map((k) => k.value));
    let left = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      const hit = words.every((word) => content.includes(word))
        && wanted.has(row.dataset.kind)
        && (!chapter.value || row.dataset.chapters.split(" ").includes(chapter.value));
      row.hidden = !hit;
      left += hit;
    }
    root.querySelector("output").textContent = `${left} of ${rows.length}`;
  }
  function arrive() {
    const row = rows.find((r) => "#" + r.id === location.hash);
    if (row) { row.querySelector("details").open = true; row.scrollIntoView({block: "center"}); }
  }
  root.querySelector("form").addEventListener("input", show);
  window.addEventListener("hashchange", arrive);
  show();
  arrive();
})();
