// What the server cannot do: keep what the reader has opened or typed, say that the stream is lost, ask before
// something is done that cannot be undone, and draw charts. Everything else is HTML from the server.

const SILENT_AFTER_MILLISECONDS = 20_000; // the server sends a sign of life at least every few seconds

// --- live updates leave the reader's own things alone ---------------------------------------------------------

const isTyped = (element) =>
  (element instanceof HTMLInputElement && element.type !== "hidden") ||
  element instanceof HTMLTextAreaElement ||
  element instanceof HTMLSelectElement;

const isChanged = (element) => {
  if (element instanceof HTMLSelectElement) {
    return [...element.options].some((option) => option.selected !== option.defaultSelected);
  }
  if (element.type === "checkbox" || element.type === "radio") return element.checked !== element.defaultChecked;
  return element.value !== element.defaultValue;
};

Object.assign(Idiomorph.defaults.callbacks, {
  beforeNodeMorphed: (old) => {
    // Something typed, or being typed into, stays as it is; so does a chart's own drawing.
    if (old instanceof Element && isTyped(old) && (old === document.activeElement || isChanged(old))) return false;
    return true;
  },
  beforeAttributeUpdated: (name, element) => {
    if (name === "open" && (element instanceof HTMLDetailsElement || element instanceof HTMLDialogElement)) return false;
    return true;
  },
});

// --- is what is shown still true? ------------------------------------------------------------------------------

const live = document.getElementById("live");
const lost = document.getElementById("lost");
let heard = Date.now();
let state = "connecting";

function show(next) {
  if (!live || next === state) return;
  state = next;
  live.dataset.live = next === "ended" ? "lost" : next;
  live.querySelector(".live-word").textContent = { on: "Live", lost: "Not live", ended: "Signed out" }[next];
  lost.hidden = next === "on";
  if (next === "lost") {
    const since = new Date(heard).toISOString().slice(11, 19);
    lost.textContent = `Not live: the connection is lost, and this is how it was at ${since} UTC. It is tried again by itself.`;
  }
  if (next === "ended") {
    lost.textContent = "You are not signed in any more. ";
    const again = document.createElement("a");
    again.href = location.href;
    again.textContent = "Load the page again";
    lost.append(again);
  }
}

function hear() {
  heard = Date.now();
  if (state !== "ended") show("on");
}

document.addEventListener("htmx:sseOpen", (event) => {
  const { source } = event.detail;
  for (const name of ["view", "beat"]) source.addEventListener(name, hear);
});
document.addEventListener("htmx:sseError", () => state !== "ended" && show("lost"));
document.addEventListener("htmx:sseClose", (event) => event.detail.type === "message" && show("ended"));
setInterval(() => Date.now() - heard > SILENT_AFTER_MILLISECONDS && state !== "ended" && show("lost"), 1000);

// --- asking first, and saying what came of it ------------------------------------------------------------------

const sure = document.getElementById("sure");
document.addEventListener("htmx:confirm", (event) => {
  if (!event.detail.question) return;
  event.preventDefault();
  document.getElementById("sure-text").textContent = event.detail.question;
  const asked = document.activeElement;
  sure.returnValue = "no";
  sure.addEventListener(
    "close",
    () => {
      // A live update may have replaced what was focused.
      (document.getElementById(asked?.id) ?? asked)?.focus();
      if (sure.returnValue === "yes") event.detail.issueRequest(true);
    },
    { once: true },
  );
  sure.showModal();
});

const notice = document.getElementById("notice");
function say(text) {
  notice.innerHTML = "";
  const box = document.createElement("div");
  box.className = "notice notice-problem";
  const words = document.createElement("p");
  words.textContent = text;
  box.append(words);
  notice.append(box);
}
document.addEventListener("htmx:sendError", () => say("The gateway does not answer. Look whether it was done before you try again."));
document.addEventListener("htmx:timeout", () => say("The gateway took too long. See whether it was done before you try again."));
notice.addEventListener("click", (event) => event.target.closest("[data-dismiss]") && notice.replaceChildren());
document.addEventListener("keydown", (event) => event.key === "Escape" && !sure.open && notice.replaceChildren());

// --- charts ----------------------------------------------------------------------------------------------------

const STYLE = document.currentScript.dataset.chartStyle;
const OWN_STYLE = `
  :host { display: block; } .u-legend { display: none; } .uplot { font-family: inherit; }
  .tip { position: absolute; top: 0; right: 0; padding: 0 .35rem; font-size: .8rem; font-variant-numeric: tabular-nums;
    background: var(--card); color: var(--text); pointer-events: none; white-space: nowrap; }
  .box { position: relative; }`;

// In a shadow tree, which live updates do not look into: they change the attributes, and the drawing follows.
class KlipChart extends HTMLElement {
  static observedAttributes = ["data-series"];

  connectedCallback() {
    if (!this.shadowRoot) {
      const root = this.attachShadow({ mode: "open" });
      const link = document.createElement("link");
      link.rel = "stylesheet";
      link.href = STYLE;
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(OWN_STYLE);
      root.adoptedStyleSheets = [sheet];
      this.box = document.createElement("div");
      this.box.className = "box";
      this.tip = document.createElement("div");
      this.tip.className = "tip";
      this.tip.hidden = true;
      this.box.append(this.tip);
      root.append(link, this.box);
      link.addEventListener("load", () => this.draw());
      new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }
  }

  attributeChangedCallback() {
    this.plot?.setData(this.series());
  }

  series() {
    return JSON.parse(this.dataset.series);
  }

  size() {
    return { width: Math.max(120, this.clientWidth), height: Math.max(80, this.clientHeight) };
  }

  colour(name) {
    // light-dark() is resolved by using it, since a canvas knows nothing of it.
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    this.shadowRoot.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  draw() {
    this.plot?.destroy();
    const { kind, unit, names } = this.dataset;
    const labels = JSON.parse(names);
    const colours = { bars: ["--good", "--bad"], area: ["--fill"], lines: ["--fill", "--edge"] }[kind].map((each) => this.colour(each));
    const line = this.colour("--line");
    const soft = this.colour("--soft");
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: soft, font, ticks: { show: false }, grid: { stroke: line, width: 1 }, gap: 6 };
    const bars = uPlot.paths.bars({ size: [0.7, 14], align: 1 });
    const half = uPlot.paths.bars({ size: [0.36, 8], align: 1 });
    this.plot = new uPlot(
      {
        ...this.size(),
        padding: [8, 16, 0, 0],
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        legend: { show: false },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        scales: {
          x: { range: (_, low, high) => [low, kind === "bars" ? high + 3600 : high] },
          y: { range: (_, __, high) => [0, Math.max(kind === "lines" ? 1 : 4, (high ?? 0) * 1.1)] },
        },
        axes: [
          { ...axis, grid: { show: false }, size: 22, space: 44, values: (_, all) => all.map((each) => new Date(each * 1000).toISOString().slice(11, 16)) },
          { ...axis, size: 34, space: 30, values: (_, all) => all.map((each) => (Number.isInteger(each) || kind === "lines" ? String(+each.toFixed(1)) : "")) },
        ],
        series: [
          {},
          ...labels.map((label, index) => ({
            label,
            stroke: colours[index],
            width: kind === "bars" ? 0 : 2,
            dash: kind === "lines" && index === 1 ? [4, 4] : undefined,
            fill: kind === "bars" ? colours[index] : kind === "area" ? translucent(colours[index]) : undefined,
            paths: kind === "bars" ? (index ? half : bars) : undefined,
            points: { show: kind === "lines", size: 5, fill: colours[index] },
            spanGaps: true,
          })),
        ],
        hooks: { setCursor: [(plot) => this.point(plot, labels, unit)] },
      },
      this.series(),
      this.box,
    );
  }

  point(plot, labels, unit) {
    const at = plot.cursor.idx;
    this.tip.hidden = at == null;
    if (at == null) return;
    const hour = new Date(plot.data[0][at] * 1000).toISOString().slice(11, 16);
    const values = labels.map((label, index) => `${label} ${plot.data[index + 1][at] ?? "–"}${unit === "min" ? " min" : ""}`);
    this.tip.textContent = `${hour}: ${values.join(", ")}`;
  }
}

const translucent = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.18)");

customElements.define("klip-chart", KlipChart);
