"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("timelines").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const SHOWN = 200; // entries listed below a drawing; more are reached by zooming in
  const BIN = 5; // marks closer than this, in pixels, are drawn as one
  const CELL = 6.7; // width of a letter of a label: 0.6 em at 11 px, and a little
  const ENOUGH = 14; // letters that a label may take although the next mark stands there
  const LEAD = 20; // seconds before a failure that are shown at first, where the timeline is longer
  const SHORTEST = 0.002; // seconds that can fill a drawing
  const GRAVITY = { fault: 0, error: 1, lost: 2, warning: 3, received: 4, sent: 5, plain: 6 };

  // Text goes in as text nodes only: nothing that a device printed can become an element.
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function drawn(parent, name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const plural = (count, word) => `${count.toLocaleString("en")} ${count === 1 ? word : word.replace(/y$/, "ie") + "s"}`;
  const short = (text) => text.replace(/^\{"type":"([\w-]+)",?/, "$1 {").replace(/ \{\}$/, "");

  class Timeline {
    constructor(figure, data, number) {
      Object.assign(this, { figure, data, number });
      this.lanes = data.lanes.map((lane) => ({ ...lane, on: true }));
      const times = this.lanes.flatMap((lane) => lane.marks.map((mark) => mark[0]));
      if (data.failed !== null) times.push(data.failed);
      this.first = times.reduce((a, b) => Math.min(a, b), Infinity);
      this.last = times.reduce((a, b) => Math.max(a, b), -Infinity);
      if (!times.length) this.first = this.last = 0;
      const air = Math.max((this.last - this.first) * 0.015, 0.005);
      this.first -= air;
      this.last += air;
      this.search = "";
      this.chosen = null;
      this.entries = [];
      this.build();
      if (data.failed !== null && this.last - this.first > 1.5 * LEAD) this.show(data.failed - LEAD, data.failed + 1);
      else this.show(this.first, this.last);
      new ResizeObserver(() => this.later()).observe(this.drawing);
    }

    // --- what it is made of

    build() {
      this.drawing = document.createElementNS(SVG, "svg");
      this.drawing.setAttribute("class", "drawing");
      this.drawing.setAttribute("tabindex", "0");
      this.drawing.setAttribute("role", "group");
      this.drawing.setAttribute("aria-label", `timeline of: ${this.data.title}`);
      this.drawing.setAttribute("aria-describedby", `hint-${this.number}`);
      this.thumb = element("i");
      this.list = element("ol", { class: "entries", tabindex: "0", role: "listbox", "aria-label": "entries in view" });
      this.status = element("span", { role: "status" });
      const hint = element("p", { class: "hint small soft", id: `hint-${this.number}` }, this.status,
        element("span", {}, "Drag or ← → to move, + − to zoom, 0 for all. Click it, and the wheel zooms."));
      for (const text of this.leftOut()) hint.append(element("span", {}, text));
      this.figure.replaceChildren(this.controls(), this.drawing,
        element("div", { class: "overview", "aria-hidden": "true" }, this.thumb), hint, this.list);
      this.listen();
    }

    leftOut() {
      const { leftOut, dropped } = this.data;
      const texts = [];
      if (leftOut) texts.push(`${plural(leftOut, "entry")} left out of this page, the least telling ones; the record has them.`);
      if (dropped) texts.push(`${plural(dropped, "older entry")} had no room in the timeline.`);
      return texts;
    }

    controls() {
      const toggles = this.lanes.map((lane) => {
        const button = element("button", { type: "button", class: "toggle", "aria-pressed": "true" },
          element("span", { class: `swatch ${lane.kind}` }), lane.title);
        button.addEventListener("click", () => {
          lane.on = !lane.on;
          button.setAttribute("aria-pressed", String(lane.on));
          this.later();
        });
        return button;
      });
      const search = element("input", { type: "search", placeholder: "search", "aria-label": "search the timeline" });
      search.addEventListener("input", () => { this.search = search.value.toLowerCase(); this.later(); });
      const zoom = element("div", { class: "zoom", role: "group", "aria-label": "zoom" },
        this.button("−", "zoom out", () => this.zoom(2)), this.button("+", "zoom in", () => this.zoom(0.5)),
        this.button("All", "show all", () => this.show(this.first, this.last)));
      if (this.data.failed !== null) {
        zoom.append(this.button("Failure", "show the failure", () => this.show(this.data.failed - 2, this.data.failed + 0.2)));
      }
      const lanes = element("div", { class: "lanes", role: "group", "aria-label": "lanes" }, ...toggles);
      return element("div", { class: "controls" }, lanes, search, zoom);
    }

    button(text, label, act) {
      const button = element("button", { type: "button", "aria-label": label, title: label }, text);
      button.addEventListener("click", act);
      return button;
    }

    // --- the part of the time that is in view

    show(from, to) {
      const whole = this.last - this.first;
      const span = clamp(to - from, Math.min(SHORTEST, whole), whole);
      const middle = (from + to) / 2;
      this.from = clamp(middle - span / 2, this.first, this.last - span);
      this.to = this.from + span;
      this.later();
    }

    zoom(factor, around = (this.from + this.to) / 2) {
      const span = clamp((this.to - this.from) * factor, SHORTEST, this.last - this.first);
      const share = (around - this.from) / (this.to - this.from);
      this.show(around - share * span, around + (1 - share) * span);
    }

    move(share) {
      const by = clamp(share * (this.to - this.from), this.first - this.from, this.last - this.to);
      this.show(this.from + by, this.to + by);
    }

    timeAt(clientX) {
      const box = this.drawing.getBoundingClientRect();
      return this.from + ((clientX - box.left - this.left) / (this.right - this.left)) * (this.to - this.from);
    }

    place(at) {
      return this.left + ((at - this.from) / (this.to - this.from)) * (this.right - this.left);
    }

    // --- hands

    listen() {
      this.drawing.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && document.activeElement !== this.drawing) return; // the page scrolls
        event.preventDefault();
        if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.move((event.deltaX || event.deltaY) / 800);
        else this.zoom(Math.exp(clamp(event.deltaY, -200, 200) / 300), this.timeAt(event.clientX));
      }, { passive: false });
      this.drawing.addEventListener("keydown", (event) => {
        const keys = {
          "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), "0": () => this.show(this.first, this.last),
          ArrowLeft: () => this.move(-0.2), ArrowRight: () => this.move(0.2),
          Home: () => this.move(-Infinity), End: () => this.move(Infinity),
        };
        if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
        event.preventDefault();
        keys[event.key]();
      });
      this.drawing.addEventListener("dblclick", (event) => this.zoom(0.5, this.timeAt(event.clientX)));
      this.drawing.addEventListener("click", (event) => {
        const mark = event.target.closest(".mark");
        if (mark) this.choose(this.entries.findIndex((entry) => entry.mark === mark.entry));
      });
      this.listenToPointers();
      this.list.addEventListener("click", (event) => {
        const item = event.target.closest("li[data-index]");
        if (item) this.choose(Number(item.dataset.index));
      });
      this.list.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (!step || !this.entries.length) return;
        event.preventDefault();
        const now = this.entries.findIndex((entry) => entry.mark === this.chosen);
        this.choose(clamp(now < 0 ? this.entries.length - 1 : now + step, 0, this.entries.length - 1));
      });
    }

    listenToPointers() {
      const held = new Map(); // one finger or the mouse moves, two fingers zoom
      const span = () => { const [a, b] = [...held.values()]; return Math.abs(a - b); };
      this.drawing.addEventListener("pointerdown", (event) => held.set(event.pointerId, event.clientX));
      this.drawing.addEventListener("pointermove", (event) => {
        if (!held.has(event.pointerId)) return;
        const before = held.size === 2 ? span() : held.get(event.pointerId);
        held.set(event.pointerId, event.clientX);
        if (held.size === 2) {
          const [a, b] = [...held.values()];
          if (before > 10 && span() > 10) this.zoom(before / span(), this.timeAt((a + b) / 2));
        } else this.move((before - event.clientX) / (this.right - this.left));
      });
      for (const gone of ["pointerup", "pointercancel", "pointerleave"]) {
        this.drawing.addEventListener(gone, (event) => held.delete(event.pointerId));
      }
    }

    choose(index) {
      this.chosen = this.entries[index] ? this.entries[index].mark : null;
      this.draw();
      const item = this.list.querySelector('[aria-selected="true"]');
      if (item) this.list.scrollTop = Math.max(0, item.offsetTop - this.list.offsetTop - this.list.clientHeight / 2);
    }

    // --- drawing

    later() {
      this.asked ??= requestAnimationFrame(() => { this.asked = undefined; this.draw(); });
    }

    draw() {
      const width = this.drawing.clientWidth || this.figure.clientWidth;
      if (!width) return; // inside of something that is closed
      const narrow = width < 640;
      this.left = narrow ? 4 : 150;
      this.right = width - 12;
      const height = narrow ? 56 : 44;
      const shown = this.lanes.filter((lane) => lane.on);
      const bottom = 18 + shown.length * height;
      this.drawing.replaceChildren();
      this.drawing.setAttribute("height", bottom + 22);
      this.drawing.setAttribute("viewBox", `0 0 ${width} ${bottom + 22}`);
      this.axis(bottom);
      this.entries = [];
      shown.forEach((lane, row) => this.lane(lane, 18 + row * height, narrow));
      this.failure(bottom);
      this.pick(bottom);
      this.listing();
      const whole = this.last - this.first;
      this.thumb.hidden = this.to - this.from > 0.999 * whole;
      this.thumb.style.left = `${(100 * (this.from - this.first)) / whole}%`;
      this.thumb.style.width = `${(100 * (this.to - this.from)) / whole}%`;
      Object.assign(this.figure.dataset, { from: this.from.toFixed(4), to: this.to.toFixed(4), drawn: "" });
    }

    axis(bottom) {
      const room = (this.to - this.from) / Math.max(2, (this.right - this.left) / 110);
      const size = 10 ** Math.floor(Math.log10(room));
      const step = [1, 2, 5, 10].map((factor) => factor * size).find((each) => each >= room * 0.999);
      const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
      for (let n = Math.ceil(this.from / step); n * step <= this.to; n += 1) {
        const x = this.place(n * step);
        drawn(this.drawing, "line", { class: "grid", x1: x, x2: x, y1: 10, y2: bottom });
        const anchor = x > this.right - 20 ? "end" : x < this.left + 16 ? "start" : "middle";
        drawn(this.drawing, "text", { x, y: bottom + 16, "text-anchor": anchor }, `${(n * step).toFixed(digits)} s`);
      }
    }

    lane(lane, top, narrow) {
      drawn(this.drawing, "line", { class: "rule", x1: 0, x2: this.right, y1: top, y2: top });
      const most = narrow ? 40 : 20;
      const titled = lane.title.length > most ? `${lane.title.slice(0, most - 1)}…` : lane.title;
      drawn(this.drawing, "text", { class: "lane", x: narrow ? this.left : 0, y: top + (narrow ? 13 : 22) }, titled);
      const middle = top + (narrow ? 29 : 17);
      drawn(this.drawing, "line", { class: "track", x1: this.left, x2: this.right, y1: middle, y2: middle });
      for (const [kind, began, ended, text] of lane.bars) this.bar(kind, began, ended, text, middle);
      const bins = this.bins(lane);
      for (const bin of bins) this.mark(lane, bin, middle);
      this.labels(bins, middle + 21);
    }

    bar(kind, began, ended, text, middle) {
      const [from, to] = [Math.max(began, this.from), Math.min(ended, this.to)];
      if (to <= from) return;
      const [x, width] = [this.place(from), Math.max(1, this.place(to) - this.place(from))];
      const bar = drawn(this.drawing, "rect", { class: `bar ${kind}`, x, width, y: middle - 11, height: 22, rx: 3 });
      drawn(bar, "title", {}, text);
    }

    bins(lane) {
      const bins = [];
      for (let index = after(lane.marks, this.from); index < lane.marks.length && lane.marks[index][0] <= this.to; index += 1) {
        const mark = lane.marks[index];
        const found = !this.search || this.text(mark).includes(this.search);
        if (found) this.entries.push({ mark, lane });
        const x = this.place(mark[0]);
        const bin = bins[bins.length - 1];
        if (!bin || x - bin.x >= BIN) bins.push({ x, mark, found, count: 1, matching: Number(found) });
        else {
          bin.count += 1;
          bin.matching += Number(found);
          const graver = GRAVITY[mark[1]] < GRAVITY[bin.mark[1]];
          if (found === bin.found ? graver : found) Object.assign(bin, { mark, found });
        }
      }
      return bins;
    }

    text(mark) {
      return `${DATA.names[mark[2]]} ${mark[3]}`.toLowerCase();
    }

    mark(lane, bin, y) {
      const { x, mark } = bin;
      const attributes = { class: `mark ${lane.kind} ${mark[1]}${bin.found ? "" : " dim"}` };
      const made = {
        frames: () => ["path", { d: mark[1] === "sent" ? `M${x} ${y - 9}l4 7h-8z` : `M${x} ${y + 9}l4 -7h-8z` }],
        console: () => ["rect", { x: x - 1, y: y - 7, width: 2, height: 14 }],
        gateway: () => ["circle", { cx: x, cy: y, r: 4 }],
        network: () => ["path", { d: `M${x} ${y - 5}l5 5l-5 5l-5 -5z` }],
        power: () => ["path", { d: `M${x + 2} ${y - 9}l-6 10h4l-2 8l6 -10h-4z` }],
        test: () => ["path", { d: `M${x - 1} ${y + 8}v-16l8 4l-6 4v8z` }],
      }[lane.kind]();
      const shape = drawn(this.drawing, made[0], { ...attributes, ...made[1] });
      shape.entry = mark;
      const more = bin.count > 1 ? ` (+${bin.count - 1})` : "";
      drawn(shape, "title", {}, `${mark[0].toFixed(3)} s  ${DATA.names[mark[2]]}  ${mark[3]}${more}`);
    }

    labels(bins, y) {
      const taken = [];
      const order = bins.filter((bin) => bin.found).sort((a, b) => GRAVITY[a.mark[1]] - GRAVITY[b.mark[1]] || a.x - b.x);
      for (const { x, mark, count } of order) {
        if (taken.some(([from, to]) => from < x && to + 10 > x)) continue;
        const before = taken.map(([from]) => from).filter((from) => from >= x);
        const next = bins.find((other) => other.found && other.x > x + ENOUGH * CELL);
        const room = Math.min(this.right + 10, next ? next.x : Infinity, ...before) - 10 - x;
        const most = Math.min(60, Math.floor(room / CELL));
        const words = short(mark[3]) + (count > 1 ? ` (+${count - 1})` : "");
        const wide = /[\u1100-\uffdc]|[\ud800-\udfff]/.test(words) ? 2 : 1; // letters of two cells, roughly
        const shown = words.length * wide <= most ? words : `${words.slice(0, Math.max(0, Math.floor(most / wide) - 1))}…`;
        if (!shown || (shown.length < 6 && shown !== words)) continue;
        taken.push([x, x + shown.length * wide * CELL]);
        drawn(this.drawing, "text", { class: "label", x: Math.max(this.left, x - 3), y }, shown);
      }
    }

    failure(bottom) {
      const at = this.data.failed;
      if (at === null || at < this.from || at > this.to) return;
      const x = this.place(at);
      drawn(this.drawing, "line", { class: "failure", x1: x, x2: x, y1: 14, y2: bottom });
      const anchor = x > this.right - 30 ? "end" : x < this.left + 30 ? "start" : "middle";
      drawn(this.drawing, "text", { class: "failed", x, y: 10, "text-anchor": anchor }, "failed");
    }

    pick(bottom) {
      if (!this.chosen || this.chosen[0] < this.from || this.chosen[0] > this.to) return;
      const x = this.place(this.chosen[0]);
      drawn(this.drawing, "line", { class: "chosen", x1: x, x2: x, y1: 14, y2: bottom });
    }

    listing() {
      this.entries.sort((a, b) => a.mark[0] - b.mark[0]);
      const all = this.entries.length;
      this.entries = this.entries.slice(-SHOWN);
      this.list.replaceChildren(...this.entries.map(({ mark, lane }, index) => element(
        "li", { class: mark[1], role: "option", "data-index": index, "aria-selected": String(mark === this.chosen), title: lane.title },
        element("span", { class: "at" }, mark[0].toFixed(3)), element("span", { class: "who" }, DATA.names[mark[2]]),
        element("span", { class: "what" }, mark[3]))));
      if (this.chosen === null) this.list.scrollTop = this.list.scrollHeight;
      const last = all > SHOWN ? `the last ${SHOWN} of ` : "";
      this.status.textContent = `${last}${plural(all, "entry")}${this.search ? " found" : ""} in view`;
    }
  }

  function after(marks, at) {
    let [low, high] = [0, marks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (marks[middle][0] < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // --- the page

  function open(figure) {
    const number = Number(figure.dataset.timeline);
    if (!figure.dataset.built) {
      figure.dataset.built = "yes";
      figure.timeline = new Timeline(figure, DATA.timelines[number], number);
    }
  }

  function openVisible(within) {
    for (const figure of within.querySelectorAll("figure.timeline")) {
      if (figure.checkVisibility ? figure.checkVisibility() : figure.offsetParent) open(figure);
    }
  }

  function reveal() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let up = target; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
    if (target) target.scrollIntoView();
  }

  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy"); // pages from a file are not trusted with the clipboard everywhere
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  function filter(list) {
    const search = list.querySelector(".filters input");
    const toggles = [...list.querySelectorAll(".filters .toggle")];
    const apply = () => {
      const on = new Set(toggles.filter((each) => each.getAttribute("aria-pressed") === "true").map((each) => each.dataset.outcome));
      let shown = 0;
      for (const item of list.querySelectorAll(".scenario")) {
        const fits = on.has(item.dataset.outcome) && item.dataset.text.includes(search.value.toLowerCase());
        item.parentElement.hidden = !fits;
        shown += Number(fits);
      }
      list.querySelector(".nothing").hidden = shown > 0;
    };
    search.addEventListener("input", apply);
    for (const toggle of toggles) {
      toggle.addEventListener("click", () => {
        toggle.setAttribute("aria-pressed", String(toggle.getAttribute("aria-pressed") !== "true"));
        apply();
      });
    }
  }

  document.addEventListener("toggle", (event) => { if (event.target.open) openVisible(event.target); }, true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button);
  });
  for (const list of document.querySelectorAll(".scenario-list")) if (list.querySelector(".filters")) filter(list);
  addEventListener("hashchange", reveal);
  openVisible(document);
  reveal();
})();
