function show(root, data) {
  const form = root.querySelector("form").elements;
  const menus = root.querySelector(".fci-menus");
  const HEIGHT = 126, LEFT = 16, RIGHT = 16, LINE = 74, BOTTOM = 100;

  const approach = () => data.approaches[form.approach.value];
  const chosen = () => [...menus.querySelectorAll("select")].map((menu) => Number(menu.value));
  const run = (picked) => approach().protocols.find((p) => p.options.every((o, i) => o === picked[i]));

  function fill() {
    menus.replaceChildren(...approach().choices.map(({choice, names}) => {
      const label = document.createElement("label");
      const menu = document.createElement("select");
      names.forEach((name, i) => menu.append(new Option(name, i)));
      menu.name = choice;
      label.append(`${choice} `, menu);
      return label;
    }));
  }

  function allow() {
    // What was not run together with the other choices can't be picked.
    const picked = chosen();
    [...menus.querySelectorAll("select")].forEach((menu, i) => {
      for (const option of menu.options)
        option.disabled = !run(Object.assign([...picked], {[i]: Number(option.value)}));
    });
  }

  function draw(svg, width) {
    allow();
    const {paper, claim, says, protocols} = approach();
    const found = run(chosen());
    const chance = found.chance;
    const x = (share) => LEFT + (width - LEFT - RIGHT) * share;
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      put(svg, "line", {x1: x(share), x2: x(share), y1: 36, y2: BOTTOM, stroke: "currentColor", "stroke-opacity": 0.2});
      put(svg, "text", {x: x(share), y: HEIGHT - 8, "text-anchor": "middle"}, `${100 * share}%`);
    }
    const color = (p) => p.agrees ? "var(--agrees)" : "var(--not)";
    for (const p of protocols)
      put(svg, "circle", {cx: x(p.mean), cy: LINE, r: 3.5, stroke: color(p), fill: p.agrees ? color(p) : "none"});
    for (const [share, text, dash, top] of [[paper, claim, "", 14], [chance, "chance", "4 3", 30]]) {
      put(svg, "line", {x1: x(share), x2: x(share), y1: top + 4, y2: BOTTOM, stroke: "currentColor", "stroke-dasharray": dash, "stroke-width": 1.5});
      put(svg, "text", {x: x(share), y: top, "text-anchor": share < 0.1 ? "start" : share > 0.7 ? "end" : "middle"}, text);
    }
    put(svg, "circle", {cx: x(found.mean), cy: LINE, r: 8, fill: found.agrees ? color(found) : "none", stroke: found.agrees ? "currentColor" : color(found), "stroke-width": found.agrees ? 1 : 3});
    const held = protocols.filter((p) => p.agrees).length;
    root.querySelector(".fci-said").textContent =
      `Under this protocol: ${percent(found.mean)} (chance ${percent(chance)}). As in the paper would be ${says}, and it `
      + `${found.agrees ? "is" : "is not"}; ${held} of ${protocols.length} protocols and ways of counting are.`;
  }

  form.approach.addEventListener("input", fill);
  form.centre.addEventListener("click", () => {
    for (const menu of menus.querySelectorAll("select")) menu.value = 0;
    root.querySelector("form").dispatchEvent(new Event("input"));
  });
  fill();
  drawing(root, HEIGHT, draw);
}
