// What a person would see: each function returns what is wrong with the page.

// Texts with too little contrast to what is behind them: WCAG 2's 4.5, or 3 for big ones.
var pale = () => {
  const numbers = (color) => (color.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (element) => {
    for (let up = element; up; up = up.parentElement) {
      const color = numbers(getComputedStyle(up).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement;
    const unseen = ["SCRIPT", "STYLE", "title"].includes(element.tagName) || !element.checkVisibility();
    if (unseen || !node.textContent.trim()) continue;
    const style = getComputedStyle(element);
    const color = numbers(element instanceof SVGElement ? style.fill : style.color);
    const [bright, dim] = [luminance(color), luminance(behind(element))].sort((a, b) => b - a);
    const big = parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 600;
    if ((bright + 0.05) / (dim + 0.05) < (big ? 3 : 4.5)) found.push(`${element.outerHTML.slice(0, 80)}`);
  }
  return found;
};

// Texts of a drawing that lie on one another.
var overlapping = () => {
  const texts = [...document.querySelectorAll(".drawing text, svg > text")];
  const boxes = texts.map((text) => [text.getBoundingClientRect(), text.textContent]).filter(([, words]) => words);
  const touch = (a, b) => a.left < b.right && b.left < a.right && a.top + 1 < b.bottom && b.top + 1 < a.bottom;
  return boxes.flatMap(([a, words], index) => boxes.slice(index + 1)
    .filter(([b]) => touch(a, b)).map(([, others]) => `${words} / ${others}`));
};

// What can be pressed, filled in or read aloud, and has no name.
var unnamed = () => [...document.querySelectorAll('button, input, a, [tabindex="0"], [role=img]')]
  .filter((each) => !each.getAttribute("aria-label") && !each.getAttribute("aria-labelledby") && !each.textContent.trim())
  .map((each) => each.outerHTML.slice(0, 80));
