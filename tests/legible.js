// Evaluated in a rendered page: what on it can't be read well. An empty list is what it should give.
(() => {
  const found = [];
  const tell = (what) => found.includes(what) || found.push(what);
  for (const detail of document.querySelectorAll("details.fci-detail")) detail.open = true;
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 1) tell(`the page is ${wide} pixels wider than the window`);

  const rgb = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const linear = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = rgb(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] > 0.5) return color;
    }
    return [255, 255, 255];
  };

  for (const image of document.querySelectorAll(".bd-article img")) {
    const scale = image.clientWidth / image.naturalWidth;
    // Figures have letters of 15 pixels, a few of 12.
    if (!(scale >= 0.6)) tell(`${image.alt.slice(0, 40)}: drawn at ${scale} of its size`);
    if (luminance(ground(image)) < 0.8) tell(`${image.alt.slice(0, 40)}: not on white`);
  }

  const named = (node) => `<${node.localName} class="${node.className}"> ${node.textContent.trim().slice(0, 40)}`;
  if (innerWidth >= 1280) // nothing is cut off: no text, table or code scrolls sideways
    for (const node of document.querySelectorAll(".bd-article *")) {
      if (!node.clientWidth || node.closest("mjx-container, .math, svg, details:not([open])")) continue;
      if (getComputedStyle(node).overflowX !== "visible" && node.scrollWidth > node.clientWidth + 1)
        tell(`${named(node)}: ${node.scrollWidth - node.clientWidth} pixels cut off`);
    }
  else // what holds the paper's numbers against ours is seen whole
    for (const figure of document.querySelectorAll(".bd-article figure")) {
      const image = figure.querySelector("img");
      if (!image || !/measured \(filled|Filled circle/.test(figure.textContent)) continue;
      if (image.getBoundingClientRect().right > innerWidth) tell(`${image.alt.slice(0, 40)}: cut off`);
    }
  const inked = getComputedStyle(document.querySelector(".bd-article")).color;
  for (const caption of document.querySelectorAll(".bd-article figcaption, .bd-article .caption-text"))
    if (getComputedStyle(caption).color !== inked) tell(`${named(caption)}: paler than the text`);

  const texts = document.createTreeWalker(document.querySelector(".bd-article"), NodeFilter.SHOW_TEXT);
  const aside = "script, style, noscript, mjx-container, option, .headerlink";
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.getClientRects().length || node.closest(aside)) continue;
    const style = getComputedStyle(node);
    const color = node instanceof SVGElement ? style.fill : style.color;
    const [dark, light] = [luminance(rgb(color)), luminance(ground(node))].sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) tell(`<${node.localName} class="${node.className}">: contrast ${contrast.toFixed(2)}`);
    if (parseFloat(style.fontSize) < 10) tell(`<${node.localName}>: letters of ${style.fontSize}`);
  }
  return found;
})()
