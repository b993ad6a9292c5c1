// The report's charts and tables. Text goes into the page as text, never as markup; nothing is fetched.
(() => {
  "use strict";
  const root = document.documentElement;
  let faults = 0;
  addEventListener("error", () => { root.dataset.faults = String(++faults); });
  addEventListener("securitypolicyviolation", () => { root.dataset.faults = String(++faults); });

  const story = JSON.parse(document.getElementById("data").textContent);
  const wanted = new URLSearchParams(location.search).get("theme");
  if (wanted === "dark" || wanted === "light") root.dataset.theme = wanted;

  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const digits = (v) => {
    const a = Math.abs(v);
    if (a === 0) return "0";
    if (a >= 99.95 || Number.isInteger(v)) return v.toFixed(0);
    return v.toPrecision(3);
  };
  const scaled = (v, steps) => {
    let [size, unit] = steps[0];
    for (const [s, u] of steps) if (Math.abs(v) >= s * 0.9995) [size, unit] = [s, u];
    return digits(v / size) + " " + unit;
  };
  const TIMES = [[1, "ns"], [1e3, "µs"], [1e6, "ms"], [1e9, "s"]];
  const BYTES = [[1, "B"], [1e3, "KB"], [1e6, "MB"], [1e9, "GB"], [1e12, "TB"]];
  const show = (v, unit) => {
    if (v == null || !isFinite(v)) return "–";
    if (unit === "ns") return scaled(v, TIMES);
    if (unit === "B") return scaled(v, BYTES);
    if (unit === "B/s") return scaled(v, BYTES) + "/s";
    if (unit === "/s") return digits(v) + "/s";
    return unit ? digits(v) + " " + unit : digits(v);
  };
  const clock = (s) => {
    if (s == null) return "–";
    if (s < 120) return Number(s.toPrecision(s < 1 ? 2 : 3)) + " s";
    const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60, r = Math.floor(s % 60);
    const two = (n) => String(n).padStart(2, "0");
    return h ? h + ":" + two(m) + ":" + two(r) : m + ":" + two(r);
  };

  let plots = [];
  const HEIGHT = 232;
  const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, 'DejaVu Sans', sans-serif";

  const axis = (more) => Object.assign({
    stroke: colour("soft"), font: FONT,
    grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1, size: 5 },
  }, more);
  const yAxis = (unit, more) => axis(Object.assign({
    size: 68, values: (u, splits) => splits.map((v) => (v == null ? "" : show(v, unit))),
  }, more));
  const xAxis = () => axis({ size: 34, space: 70, values: (u, splits) => splits.map(clock) });
  const keepWithin = (ctx, text, width) => {
    if (ctx.measureText(text).width <= width) return text;
    while (text.length > 1 && ctx.measureText(text + "…").width > width) text = text.slice(0, -1);
    return text.length > 1 ? text + "…" : "";
  };

  // Stages as bands, under everything else.
  const stages = (chapter) => (u) => {
    const { ctx, bbox } = u, ratio = devicePixelRatio;
    ctx.save();
    ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
    chapter.stages.forEach((stage, index) => {
      const from = u.valToPos(stage.from, "x", true), to = u.valToPos(stage.to, "x", true);
      ctx.fillStyle = colour(index % 2 ? "shade-b" : "shade-a");
      ctx.fillRect(from, bbox.top, to - from, bbox.height);
      if (!stage.name || chapter.stages.length > 24) return;
      ctx.font = 11 * ratio + "px " + FONT.slice(5);
      ctx.fillStyle = colour("soft"); ctx.textBaseline = "top";
      const name = keepWithin(ctx, stage.name, to - from - 8 * ratio);
      ctx.fillText(name, from + 4 * ratio, bbox.top + 3 * ratio);
    });
    ctx.restore();
  };
  // What happened, as lines; what took its time, as bands; in words where there is room for them.
  const TELLING = ["asked to go", "outage", "restart", "stopped", "died"];
  const markers = (chapter) => (u) => {
    const { ctx, bbox } = u, ratio = devicePixelRatio;
    let free = bbox.left;
    ctx.save();
    ctx.font = 11 * ratio + "px " + FONT.slice(5); ctx.textBaseline = "bottom"; ctx.textAlign = "left";
    ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
    chapter.markers.forEach((mark, index) => {
      const at = u.valToPos(mark.from, "x", true);
      ctx.strokeStyle = ctx.fillStyle = colour(mark.kind === "restart" ? "c1" : "mark");
      if (mark.to != null) {
        ctx.globalAlpha = 0.16;
        ctx.fillRect(at, bbox.top, Math.max(u.valToPos(mark.to, "x", true) - at, 2), bbox.height);
        ctx.globalAlpha = 1;
      }
      ctx.setLineDash([5, 4]); ctx.lineWidth = devicePixelRatio;
      ctx.beginPath(); ctx.moveTo(at, bbox.top); ctx.lineTo(at, bbox.top + bbox.height); ctx.stroke();
      const from = at + 4 * ratio, width = ctx.measureText(mark.words).width;
      if (from < free || from + width > bbox.left + bbox.width) return;
      // Of those that share a place the most telling is named.
      const more = TELLING.slice(TELLING.indexOf(mark.words) + 1);
      const close = chapter.markers.slice(index + 1).filter((other) => u.valToPos(other.from, "x", true) < from + width);
      if (close.some((other) => more.includes(other.words))) return;
      ctx.fillText(mark.words, from, bbox.top + bbox.height - 3 * ratio);
      free = from + width + 6 * ratio;
    });
    ctx.restore();
  };

  // Charts of one workload share their cursor and their zoom.
  let zooming = false;
  const follow = (group) => (u, scale) => {
    if (scale !== "x" || zooming) return;
    zooming = true;
    for (const plot of plots) {
      if (plot !== u && plot.group === group && (plot.scales.x.min !== u.scales.x.min || plot.scales.x.max !== u.scales.x.max)) {
        plot.setScale("x", { min: u.scales.x.min, max: u.scales.x.max });
      }
    }
    zooming = false;
  };

  const put = (host, options, data, group) => {
    host.replaceChildren();
    const plot = new uPlot(Object.assign({ width: Math.max(host.clientWidth, 240), height: HEIGHT }, options), data, host);
    plot.group = group;
    plots.push(plot);
    host.tabIndex = 0;
    host.setAttribute("role", "group");
    host.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") { plot.setData(plot.data); return; }
      if (!step) return;
      event.preventDefault();
      const last = plot.data[0].length - 1, now = plot.cursor.idx;
      const next = Math.min(Math.max(now == null ? (step > 0 ? 0 : last) : now + step, 0), last);
      plot.setCursor({ left: plot.valToPos(plot.data[0][next], "x"), top: HEIGHT / 3 });
    };
    for (const cell of host.querySelectorAll(".u-legend th")) {
      cell.tabIndex = 0;
      cell.onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); cell.click(); } };
    }
    return plot;
  };

  // Values without a neighbour, which no line shows.
  const lonely = (values) => {
    const found = [];
    values.forEach((v, i) => { if (v != null && values[i - 1] == null && values[i + 1] == null) found.push(i); });
    return found.length ? found : null;
  };
  const line = (label, unit, index, more) => Object.assign({
    label, stroke: colour("c" + (index % 8)), width: 1.6, spanGaps: false,
    points: { show: false, size: 6, filter: (u, index) => lonely(u.data[index]) }, value: (u, v) => show(v, unit),
  }, more);
  const timed = (chapter, hooks) => ({
    cursor: { sync: { key: chapter.id }, drag: { x: true, y: false, uni: 20 }, y: false },
    hooks: Object.assign({ drawClear: [stages(chapter)], draw: [markers(chapter)], setScale: [follow(chapter.id)] }, hooks),
  });
  const alone = (count) => (count < 2 ? { points: { show: true, size: 7 } } : {});

  const drawLines = (chapter, chart) => {
    const host = document.getElementById(chart.host);
    if (!host) return;
    const more = alone(chapter.x.length);
    const series = chart.series.map((one, index) => line(one.label, chart.unit, index, Object.assign({},
      one.dash ? { dash: [6, 4], width: 1.3 } : {}, one.stairs ? { paths: uPlot.paths.stepped({ align: 0 }) } : {},
      one.fill ? { fill: colour("shade-b") } : {}, more)));
    put(host, Object.assign({
      scales: { x: timeScale(chapter), y: { range: (u, min, max) => [0, Math.max(max, 1e-9) * 1.08] } },
      series: [{ label: "at", value: (u, v) => clock(v) }, ...series], axes: [xAxis(), yAxis(chart.unit)],
    }, timed(chapter)), [chapter.x, ...chart.series.map((one) => one.values)], chapter.id);
  };

  // The whole run, unless a part of it was chosen.
  const timeScale = (chapter) => ({ time: false, range: (u, min, max) => (u.data[0].length > 1 && (min > u.data[0][0] || max < u.data[0][u.data[0].length - 1]) ? [min, max] : [0, chapter.end]) });
  const logScale = () => ({ distr: 3, log: 10, range: (u, min, max) => (min > 0 ? uPlot.rangeLog(min, max, 10, false) : [1, 10]) });

  const drawLatency = (chapter, subject) => {
    const host = document.getElementById(chapter.id + "-latency");
    const shown = ["p50", "p90", "p99", "max"];
    const more = alone(chapter.x.length);
    const level = subject.base ? ["p50", "p99"].filter((key) => subject.base[key] != null) : [];
    const bound = (key) => ({ value: (u, v, s, i) => (i != null && subject.least[key]?.includes(i) ? "≥ " : "") + show(v, subject.unit) });
    put(host, Object.assign({
      scales: { x: timeScale(chapter), y: logScale() },
      series: [{ label: "at", value: (u, v) => clock(v) },
        ...shown.map((key, index) => line(key, subject.unit, [0, 2, 1, 7][index], Object.assign(bound(key), key === "max" ? { width: 1, dash: [3, 3] } : {}, more))),
        ...level.map((key) => line("baseline " + key, subject.unit, key === "p50" ? 0 : 1, Object.assign({ width: 1.3, dash: [12, 6] }, more)))],
      axes: [xAxis(), yAxis(subject.unit)],
    }, timed(chapter)), [chapter.x, ...shown.map((key) => subject[key]), ...level.map((key) => chapter.x.map(() => subject.base[key]))], chapter.id);
  };

  // 1, 2, 5, 10 … between two ends; fewer where there are many.
  const rounds = (low, high) => {
    const all = [];
    for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) all.push(power, 2 * power, 5 * power);
    const within = all.filter((v) => v >= low && v <= high);
    return within.length > 9 ? within.filter((v) => /^1(\.0*)?e/.test(v.toExponential())) : within;
  };

  const drawHeat = (chapter, subject) => {
    const host = document.getElementById(chapter.id + "-heat");
    const most = Math.max(1, ...subject.heat.flatMap((column) => column.filter((_, i) => i % 2)));
    const paint = (u) => {
      const { ctx, bbox } = u, half = chapter.width / 2, rgb = colour("heat");
      ctx.save();
      ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
      subject.heat.forEach((column, at) => {
        const from = Math.floor(u.valToPos(chapter.x[at] - half, "x", true));
        const to = Math.ceil(u.valToPos(chapter.x[at] + half, "x", true));
        for (let i = 0; i < column.length; i += 2) {
          const low = u.valToPos(subject.bounds[column[i]], "y", true), high = u.valToPos(subject.bounds[column[i] + 1], "y", true);
          ctx.fillStyle = "rgba(" + rgb + "," + (0.1 + 0.9 * Math.log1p(column[i + 1]) / Math.log1p(most)).toFixed(3) + ")";
          ctx.fillRect(from, high, Math.max(to - from, 1), Math.max(low - high, 1));
        }
      });
      ctx.restore();
    };
    const bounds = subject.bounds;
    put(host, Object.assign({
      scales: { x: timeScale(chapter), y: { distr: 3, log: 10, range: () => [Math.max(bounds[0], 1), Math.max(bounds[bounds.length - 1], 2)] } },
      series: [{ label: "at", value: (u, v) => clock(v) }, line("median", subject.unit, 1, Object.assign({ width: 1.2 }, alone(chapter.x.length)))],
      axes: [xAxis(), yAxis(subject.unit, { splits: (u) => rounds(u.scales.y.min, u.scales.y.max), filter: (u, splits) => splits })],
    }, timed(chapter, { drawAxes: [paint] })), [chapter.x, subject.p50], chapter.id);
  };

  // Percentiles on the axis of HdrHistogram: each nine as wide as the one before it.
  const drawCurve = (chapter, subject) => {
    const host = document.getElementById(chapter.id + "-curve");
    const label = (x) => {
      const q = 100 * (1 - 10 ** -x);
      return (q >= 99.9 ? q.toFixed(Math.max(1, Math.ceil(x) - 2)) : digits(q)) + " %";
    };
    const last = Math.max(1, ...subject.curve[0]);
    // Of the baseline a few percentiles are known, and nothing between them.
    const base = subject.base_curve;
    const marks = [0, Math.log10(2), 1, 2, 3, 4, 5, 6, 7, 8].filter((x) => x <= last + 0.01 && (last < 3.5 || x === 0 || x >= 1));
    put(host, {
      scales: { x: { time: false, range: () => [0, last] }, y: logScale() },
      cursor: { drag: { x: true, y: false }, y: false },
      series: [{ label: "percentile", value: (u, v) => (v == null ? "–" : label(v)) },
        line("at most", subject.unit, 0, { paths: uPlot.paths.stepped({ align: -1 }), spanGaps: true }),
        ...(base ? [line("baseline at most", subject.unit, 1, { paths: () => null, points: { show: true, size: 9 } })] : [])],
      axes: [axis({ size: 34, splits: () => marks, values: () => marks.map((x) => (x === 0 ? "0 %" : label(x))) }), yAxis(subject.unit)],
    }, base ? uPlot.join([subject.curve, base]) : subject.curve, null);
  };

  const drawSubject = (chapter) => {
    const picker = document.getElementById(chapter.id + "-subject");
    const subject = chapter.subjects[picker ? Number(picker.value) || 0 : 0];
    if (!subject) return;
    const own = [chapter.id + "-latency", chapter.id + "-heat", chapter.id + "-curve"].map((id) => document.getElementById(id));
    plots = plots.filter((plot) => {
      const gone = own.some((host) => host && host.contains(plot.root));
      if (gone) plot.destroy();
      return !gone;
    });
    drawLatency(chapter, subject); drawHeat(chapter, subject); drawCurve(chapter, subject);
    if (picker) picker.onchange = () => drawSubject(chapter);
  };

  const drawKnee = (knee) => {
    const host = document.getElementById(knee.host);
    const vertical = (u) => {
      if (knee.at == null) return;
      const { ctx, bbox } = u, at = u.valToPos(knee.at, "x", true);
      ctx.save(); ctx.strokeStyle = colour("mark"); ctx.setLineDash([6, 4]); ctx.lineWidth = devicePixelRatio;
      ctx.beginPath(); ctx.moveTo(at, bbox.top); ctx.lineTo(at, bbox.top + bbox.height); ctx.stroke(); ctx.restore();
    };
    const dots = { points: { show: true, size: 7 } };
    const series = [{ label: "asked", value: (u, v) => show(v, knee.unit) }, line("done", "/s", 0, Object.assign({ scale: "done" }, dots))];
    const data = [knee.x, knee.done], axes = [axis({ size: 34, values: (u, s) => s.map((v) => show(v, knee.unit)) }), yAxis("/s", { scale: "done" })];
    const times = [["mean", knee.mean, 2], ["p95", knee.p95, 1]].filter(([, values]) => values.some((v) => v != null));
    for (const [label, values, index] of times) {
      series.push(line(label, "ns", index, Object.assign({ scale: "time" }, dots))); data.push(values);
    }
    if (times.length) axes.push(yAxis("ns", { scale: "time", side: 1, grid: { show: false } }));
    put(host, {
      scales: { x: { time: false }, done: { range: (u, a, b) => [0, Math.max(b, 1e-9) * 1.08] }, time: { range: (u, a, b) => [0, Math.max(b, 1) * 1.08] } },
      cursor: { y: false, drag: { x: false, y: false } }, hooks: { draw: [vertical] }, series, axes,
    }, data, null);
  };

  const drawAll = () => {
    plots.forEach((plot) => plot.destroy());
    plots = [];
    for (const chapter of story.chapters) {
      chapter.charts.forEach((chart) => drawLines(chapter, chart));
      drawSubject(chapter);
    }
    story.knees.forEach(drawKnee);
    root.dataset.charts = String(plots.length);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.onclick = () => {
        const down = head.getAttribute("aria-sort") === "descending" || (head.getAttribute("aria-sort") !== "ascending" && !head.classList.contains("n"));
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "ascending" : "descending");
        const key = (row) => {
          const cell = row.cells[column], number = cell.dataset.v;
          return number === undefined ? cell.textContent : number === "" ? -Infinity : Number(number);
        };
        const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
        const rows = [...table.tBodies[0].rows].sort((a, b) => order(key(a), key(b)) * (down ? 1 : -1));
        table.tBodies[0].append(...rows);
      };
    });
  }

  const save = document.getElementById("save");
  if (save) save.onclick = () => {
    const blob = new Blob([document.getElementById("summary").textContent], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob); link.download = "summary.json"; link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const theme = document.getElementById("theme");
  if (theme) theme.onclick = () => {
    const dark = getComputedStyle(root).colorScheme.includes("dark");
    root.dataset.theme = dark ? "light" : "dark";
    drawAll();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme; root.dataset.theme = "light";
    document.querySelectorAll("details.chapter").forEach((chapter) => { chapter.open = true; });
    drawAll();
  });
  addEventListener("afterprint", () => { if (before) root.dataset.theme = before; else delete root.dataset.theme; drawAll(); });
  // What is folded away has no width to draw in until it is opened.
  for (const chapter of document.querySelectorAll("details.chapter")) {
    let drawn = chapter.open;
    chapter.addEventListener("toggle", () => { if (chapter.open && !drawn) { drawn = true; drawAll(); } });
  }
  let pending;
  let wide = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === wide) return;
    wide = innerWidth;
    clearTimeout(pending); pending = setTimeout(drawAll, 150);
  });
  drawAll();
  root.dataset.ready = "true";
})();
