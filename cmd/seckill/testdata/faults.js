// faults lists what keeps people out who can't see the page well, or not at all.
() => {
  const faults = [];
  const say = (e, what) => faults.push(`${what}: ${e.outerHTML.slice(0, 120)}`);
  const all = (s) => [...document.querySelectorAll(s)];

  if (!document.documentElement.lang) faults.push("the page has no language");
  if (!document.title) faults.push("the page has no title");
  if (all("h1").length !== 1) faults.push(`the page has ${all("h1").length} first headings`);
  if (!document.querySelector("main")) faults.push("the page has no main part");
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} wide, and the window ${innerWidth}`);

  const ids = all("[id]").map((e) => e.id);
  for (const id of ids.filter((id, i) => ids.indexOf(id) !== i)) faults.push(`two elements are called ${id}`);
  for (const name of ["aria-describedby", "aria-labelledby", "for"]) {
    for (const e of all(`[${name}]`)) {
      for (const id of e.getAttribute(name).split(/\s+/)) if (!document.getElementById(id)) say(e, `${name} names ${id}, which is not there`);
    }
  }

  for (const e of all("input:not([type=hidden]), select, textarea")) {
    if (!e.labels.length && !e.getAttribute("aria-label")) say(e, "no label");
  }
  for (const e of all("a[href], button, summary")) if (!e.textContent.trim() && !e.getAttribute("aria-label")) say(e, "no text");
  for (const e of all("img")) if (!e.hasAttribute("alt")) say(e, "no text in place of the image");
  for (const e of all("svg")) {
    const named = e.getAttribute("aria-hidden") === "true" || e.getAttribute("role") === "img" && e.querySelector("title");
    if (!named) say(e, "no text in place of the image");
  }
  for (const e of all("table")) if (!e.querySelector("th")) say(e, "a table without headings");
  let level = 1;
  for (const e of all("h1, h2, h3, h4")) {
    const l = Number(e.tagName[1]);
    if (l > level + 1) say(e, `a heading of level ${l} after one of level ${level}`);
    level = l;
  }

  // Contrast, as WCAG 2 has it.
  const parse = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
      if (c[3] > 0) return null; // half transparent: not used, so a fault
    }
    return [255, 255, 255];
  };
  const check = (e, colour, what) => {
    const back = behind(e);
    if (!back) return say(e, "a background that shines through");
    const [a, b] = [luminance(parse(colour)), luminance(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) say(e, `${what} has a contrast of ${ratio.toFixed(2)}`);
  };
  for (const e of all("body *")) {
    if (!e.checkVisibility() || e.matches(":disabled, :disabled *, svg *, script, style, option")) continue;
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (own || e.matches("input, textarea, select")) check(e, getComputedStyle(e).color, "text");
    if (e.placeholder) check(e, getComputedStyle(e, "::placeholder").color, "a placeholder");
  }
  for (const e of all("svg text")) check(e.closest("svg"), getComputedStyle(e).fill, "text in an image");
  return faults;
}
