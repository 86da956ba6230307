// What moves on the pages: live pieces, charts, local times, copying, dependent fields. All else works without it.
"use strict";
(() => {
  const root = document.documentElement;
  const said = document.getElementById("said");
  const say = (text) => { if (said) said.textContent = text; };
  const each = (within, selector, act) => within.querySelectorAll(selector).forEach(act);
  root.classList.add("js");

  // Times of this browser beside those of the server.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const local = new Intl.DateTimeFormat("sv-SE", {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  const showTimes = (within) => each(within, "[data-local]", (place) => {
    const at = new Date(place.dataset.local);
    if (!Number.isNaN(at.getTime())) place.textContent = `${local.format(at)} ${zone}`;
  });

  // Copying, also on plain http, where browsers have no clipboard for pages.
  const copy = async (text) => {
    if (navigator.clipboard && window.isSecureContext) {
      await navigator.clipboard.writeText(text);
      return;
    }
    const field = document.createElement("textarea");
    field.value = text;
    field.setAttribute("aria-hidden", "true");
    field.className = "hidden";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) throw new Error("the browser does not let pages copy");
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const of = button.dataset.copyOf ? document.getElementById(button.dataset.copyOf) : null;
    try {
      await copy(of ? of.textContent : button.dataset.copy);
      say("Copied");
      button.dataset.was = button.dataset.was || button.textContent;
      button.textContent = "✓ Copied";
      setTimeout(() => { button.textContent = button.dataset.was; }, 1500);
    } catch (error) {
      say(`Not copied: ${error.message}`);
    }
  });

  // Charts: data-chart holds {series: [{label, kind}], data: [[seconds], [values], ...], unit}.
  const colour = (kind) => getComputedStyle(root).getPropertyValue(`--${kind}`).trim();
  const charts = new Map();
  const draw = (place) => {
    if (!window.uPlot) return;
    const old = charts.get(place);
    if (old) old.destroy();
    const given = JSON.parse(place.dataset.chart);
    if (!given.data.length || !given.data[0].length) return;
    const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
    const unit = given.unit || "";
    const short = (number) => number >= 10000 ? `${Math.round(number / 100) / 10}k` : `${number}`;
    const iso = (seconds) => new Date(seconds * 1000).toISOString();
    const clock = (chart, at) => {
      const wide = chart.scales.x.max - chart.scales.x.min;
      return at.map((seconds) => wide > 86400 ? iso(seconds).slice(5, 16).replace("T", " ") : iso(seconds).slice(11, wide > 600 ? 16 : 19));
    };
    charts.set(place, new uPlot({
      width: Math.max(place.clientWidth, 200), height: given.height || 180,
      cursor: { y: false }, legend: { live: true },
      scales: { x: { time: true }, y: { range: (_, low, high) => [Math.min(0, low), Math.max(high * 1.05, given.least || 1)] } },
      axes: [{ ...axis, space: 70, values: clock }, { ...axis, size: 76, values: (_, all) => all.map((value) => `${short(value)}${unit}`) }],
      series: [{ label: "UTC", value: (_, seconds) => seconds == null ? "–" : iso(seconds).slice(0, 19).replace("T", " ") }, ...given.series.map((one) => ({
        label: one.label, stroke: colour(one.kind), width: one.bars ? 0 : one.dashed ? 1.5 : 2, dash: one.dashed ? [6, 4] : undefined,
        points: { show: one.points === true, size: 6, fill: colour(one.kind) },
        paths: one.points === true ? () => null : one.bars ? uPlot.paths.bars({ size: [0.8, 60] }) : undefined,
        fill: one.bars ? colour(one.kind) : undefined,
        value: (_, value) => value === null ? "–" : `${value}${unit}`,
      }))],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    }, given.data, place));
  };
  const drawAll = (within) => {
    for (const [place, chart] of charts) if (!place.isConnected) { chart.destroy(); charts.delete(place); }
    each(within, "[data-chart]", draw);
  };
  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => drawAll(document), 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));

  // Fields that are shown for one choice only: data-when="field=value".
  const sift = (form) => each(form, "[data-when]", (part) => {
    const [name, wanted] = part.dataset.when.split("=");
    const chosen = new FormData(form).get(name);
    part.hidden = chosen !== wanted;
    each(part, "input,select,textarea", (field) => { field.disabled = part.hidden; });
  });
  document.addEventListener("change", (event) => {
    if (event.target.form) sift(event.target.form);
    if (event.target.matches("[data-all]")) {
      each(event.target.form, `input[name="${event.target.dataset.all}"]`, (box) => { box.checked = event.target.checked; });
    }
    if (event.target.matches("[data-go]")) event.target.form.requestSubmit();
  });

  // Live pieces: the server ends each answer after one event, and the browser asks again after a while.
  const begin = () => {
    const place = document.querySelector("[data-live]");
    if (!place || document.body.hasAttribute("data-still") || !window.EventSource) return;
    let source = null;
    const stop = () => { if (source) source.close(); source = null; };
    const start = () => {
      if (source || document.hidden) return;
      source = new EventSource(place.dataset.live);
      source.addEventListener("pieces", (event) => {
        for (const [id, html] of Object.entries(JSON.parse(event.data))) {
          const piece = document.getElementById(id);
          if (!piece || piece.contains(document.activeElement)) continue;
          if (piece.dataset.chart !== undefined) {
            piece.dataset.chart = html;
            draw(piece);
          } else if (piece.innerHTML !== html) {
            piece.innerHTML = html;
            ready(piece);
          }
        }
        place.classList.remove("stale");
        place.removeAttribute("title");
      });
      source.addEventListener("stale", (event) => {
        place.classList.add("stale");
        place.title = JSON.parse(event.data);
        say(`Not up to date: ${place.title}`);
      });
      source.addEventListener("over", () => { stop(); location.reload(); });
      source.addEventListener("error", () => { if (source && source.readyState === EventSource.CLOSED) place.classList.add("stale"); });
    };
    document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else start(); });
    addEventListener("pagehide", stop);
    start();
  };

  const ready = (within) => {
    showTimes(within);
    drawAll(within);
    if (window.htmx && within !== document) window.htmx.process(within);
  };
  document.addEventListener("htmx:afterSwap", (event) => { showTimes(event.target); drawAll(event.target); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") each(document, "details.act[open]", (open) => { open.open = false; open.querySelector("summary").focus(); });
    if (event.key === "/" && !event.target.matches("input,textarea,select")) {
      const search = document.querySelector("[data-search]");
      if (search) { event.preventDefault(); search.focus(); }
    }
  });
  each(document, "form", sift);
  ready(document);
  begin();
})();
