const NS = "http://www.w3.org/2000/svg";
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function put(svg, kind, attributes, text) {
  const node = document.createElementNS(NS, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  svg.append(node);
  return node;
}

function drawing(root, height, draw) {
  const svg = root.querySelector("svg");
  const redraw = () => {
    const width = Math.max(svg.clientWidth, 240);
    svg.replaceChildren();
    svg.setAttribute("height", height);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    draw(svg, width);
  };
  root.querySelector("form").addEventListener("input", redraw);
  new ResizeObserver(redraw).observe(root);
  redraw();
}
