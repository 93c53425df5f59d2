function show(root, data) {
  const form = root.querySelector("form").elements;
  const HEIGHT = 220, LEFT = 44, RIGHT = 8, TOP = 10, BOTTOM = 44;
  const y = (share) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.sqrt(share));

  function draw(svg, width) {
    const run = data.runs[form.condition.value][form.protocol.value];
    const place = data.sequences[form.sequence.value];
    const epoch = Number(form.epoch.value);
    const [found, own, ...groups] = run.shares[epoch][form.sequence.value];
    const step = (width - LEFT - RIGHT) / data.length;
    const x = (position) => LEFT + step * position;
    const bar = (position, tokens, sum, fill) => put(svg, "rect", {
      x: x(position) + 0.1 * step, width: Math.max(step * (tokens - 0.2), 1),
      y: y(sum / tokens), height: y(0) - y(sum / tokens), fill,
    });
    for (const share of [0, 0.01, 0.1, 0.25, 0.5, 1]) {
      put(svg, "line", {x1: LEFT, x2: width - RIGHT, y1: y(share), y2: y(share), stroke: "currentColor", "stroke-opacity": 0.15});
      put(svg, "text", {x: LEFT - 6, y: y(share) + 4, "text-anchor": "end"}, `${100 * share}%`);
    }
    const uniform = 1 / run.candidates;
    put(svg, "line", {x1: LEFT, x2: width - RIGHT, y1: y(uniform), y2: y(uniform), stroke: "currentColor", "stroke-dasharray": "4 3"});
    groups.forEach((share, i) =>
      bar(data.group * i, Math.min(data.group, data.length - data.group * i), share, "var(--other)"));
    bar(place.query, 1, own, "var(--query)");
    bar(place.evidence, 1, found, "var(--evidence)");
    const near = Math.abs(x(place.query) - x(place.evidence)) < 110;
    for (const [what, dy] of [["query", 0], ["evidence", near ? 14 : 0]]) {
      const at = x(place[what] + 0.5);
      put(svg, "path", {d: `M${at} ${y(0) + 2} l4 7 h-8 z`, fill: `var(--${what})`});
      const anchor = at < 90 ? "start" : at > width - 60 ? "end" : "middle";
      put(svg, "text", {x: at, y: y(0) + 22 + dy, "text-anchor": anchor}, `${what} (${place[what]})`);
    }
    const rest = groups.reduce((a, b) => a + b, 0);
    const when = epoch ? `After epoch ${epoch}` : "Before training";
    const mean = epoch
      ? `Over all ${data.held_out} held-out sequences the best candidate is the evidence in ${percent(run.precision[epoch - 1])}`
        + ` and the query itself in ${percent(run.picked_query[epoch - 1])}; a random router finds the evidence in ${percent(data.chance[form.protocol.value])}.`
      : `Equal shares would be ${percent(uniform)}, the dashed line.`;
    form.epoch.nextElementSibling.textContent = epoch;
    form.epoch.setAttribute("aria-valuetext", when);
    root.querySelector(".fci-said").textContent =
      `${when}, of this sequence's softmax: the evidence ${percent(found)}, the query itself ${percent(own)}, `
      + `the other ${data.length - 2} positions together ${percent(rest)}. ${mean}`;
  }
  drawing(root, HEIGHT, draw);
}
