// What pages do beyond HTML: they follow the server, and draw the curve of a sale. Without it
// every page still works; it shows what was true when it was loaded.

const beatEvery = 2_000; // the server says something at least that often
const staleAfter = 3 * beatEvery;

const number = new Intl.NumberFormat("en");

// follow keeps the page's parts as the server has them, and says when it can't.
function follow(url) {
  const banner = document.getElementById("lost");
  const since = document.getElementById("lost-age");
  const curve = document.getElementById("curve");
  const draw = curve && new Curve(curve);
  let heard = Date.now();
  let source, over = false;

  const connect = () => {
    source = new EventSource(url);
    source.addEventListener("beat", () => { heard = Date.now(); });
    source.addEventListener("parts", (e) => { heard = Date.now(); replace(JSON.parse(e.data)); });
    source.addEventListener("point", (e) => { heard = Date.now(); draw?.add(JSON.parse(e.data)); });
    source.addEventListener("over", () => { over = true; source.close(); }); // it stays as it is
  };

  // attend follows while the page is seen. Browsers have six connections to a server, of which
  // each stream takes one: with those of hidden pages, a seventh page would never be loaded.
  const attend = () => {
    if (document.hidden) source?.close();
    else if (!over && (!source || source.readyState === EventSource.CLOSED)) connect();
  };
  attend();
  document.addEventListener("visibilitychange", attend);

  setInterval(() => {
    if (over || document.hidden) return;
    const age = Date.now() - heard;
    banner.hidden = age < staleAfter;
    if (!banner.hidden) since.textContent = duration(age);
    attend(); // it may have been refused: try anew
  }, beatEvery);
  addEventListener("pagehide", () => source?.close());
}

// replace puts the server's parts in place of the page's. It leaves the focus where it was,
// and what was opened open.
function replace(parts) {
  for (const [id, html] of Object.entries(parts)) {
    const place = document.getElementById(id);
    if (!place) continue;
    const focused = place.contains(document.activeElement) ? same(document.activeElement) : null;
    const opened = [...place.querySelectorAll("details[open][id]")].map(same);
    place.innerHTML = html; // made by the server's templates, which escape
    for (const was of opened) place.querySelector(was)?.setAttribute("open", "");
    if (focused) place.querySelector(focused)?.focus({ preventScroll: true });
  }
}

// same selects what takes the place of an element.
function same(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  return element.hasAttribute("href") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : null;
}

function duration(ms) {
  const s = Math.round(ms / 1000);
  return s < 90 ? `${s} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

// A Curve shows how a sale went: in the minutes before the page was opened, as far as the
// server knows, and since then.
class Curve {
  static margin = { left: 12, right: 78, top: 14, bottom: 24 };
  static most = 1800; // points: half an hour of seconds
  static sayEvery = 10_000; // to those who listen

  constructor(figure) {
    this.svg = figure.querySelector("svg");
    this.rows = figure.querySelector("tbody");
    this.spoken = document.getElementById("curve-spoken");
    this.points = [];
    this.said = 0;
    addEventListener("resize", () => { if (this.points.length) this.draw(); });
  }

  // add adds points, the oldest first. Those that are there already come again when the
  // server was out of touch.
  add(points) {
    const fresh = points.filter((p) => p.at > (this.points.at(-1)?.at ?? 0));
    if (!fresh.length) return;
    this.points = this.points.concat(fresh).slice(-Curve.most);
    this.draw();
    this.tell(fresh);
  }

  draw() {
    const { margin } = Curve;
    const { clientWidth: width, clientHeight: height } = this.svg; // so that letters are not stretched
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const first = this.points[0], last = this.points.at(-1);
    const span = Math.max(last.at - first.at, 30_000);
    const most = Math.max(last.total, 1);
    const x = (p) => margin.left + (p.at - first.at) / span * (width - margin.left - margin.right);
    const y = (v) => height - margin.bottom - v / most * (height - margin.top - margin.bottom);
    const line = (name, value) => {
      const points = this.points.map((p) => `${x(p).toFixed(1)},${y(value(p)).toFixed(1)}`);
      if (points.length === 1) points.push(points[0]);
      return element("polyline", { class: name, points: points.join(" ") });
    };
    const shapes = [];
    for (const share of [0, 0.5, 1]) {
      const at = y(most * share);
      shapes.push(element("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: at, y2: at }));
      shapes.push(element("text", { x: width - margin.right + 8, y: at + 4 }, number.format(Math.round(most * share))));
    }
    shapes.push(element("text", { x: margin.left, y: height - 6 }, clock(first.at)));
    shapes.push(element("text", { x: width - margin.right, y: height - 6, "text-anchor": "end" }, clock(first.at + span)));
    shapes.push(line("left", (p) => p.remaining), line("sold", (p) => p.sold));
    this.svg.querySelector("g").replaceChildren(...shapes);
  }

  // tell says in words what the curve shows: as its text, as a table, and now and then aloud.
  tell(fresh) {
    const last = fresh.at(-1);
    const words = `${number.format(last.sold)} sold, ${number.format(last.remaining)} remaining of ${number.format(last.total)}`;
    this.svg.querySelector("desc").textContent = `Since ${clock(this.points[0].at)}; at ${clock(last.at)}: ${words}.`;
    this.svg.dataset.sold = last.sold;
    for (const point of fresh) {
      if (point.at - this.said < Curve.sayEvery) continue;
      this.said = point.at;
      this.note(point);
      if (point === last) this.spoken.textContent = words;
    }
  }

  // note adds a row to the table.
  note(point) {
    const row = document.createElement("tr");
    for (const text of [clock(point.at), number.format(point.sold), number.format(point.remaining)]) {
      const cell = row.insertCell();
      cell.textContent = text;
      cell.className = "number";
    }
    this.rows.prepend(row);
    if (this.rows.rows.length > 60) this.rows.lastElementChild.remove();
  }
}

function element(name, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

function clock(ms) {
  return new Date(ms).toISOString().slice(11, 19);
}

// A form is sent once, however often it is clicked: of two tokens one would never be seen.
const sentAt = new WeakMap();
addEventListener("submit", (e) => {
  if (e.target.method !== "post") return;
  if (e.timeStamp - sentAt.get(e.target) < beatEvery) e.preventDefault();
  else sentAt.set(e.target, e.timeStamp);
});

const stream = document.body.dataset.stream;
if (stream) follow(stream);
