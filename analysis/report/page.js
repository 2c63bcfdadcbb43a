"use strict";
// Interactive learning curves and the sortable table. Text from the data is set as text, never as markup.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const CHARTS = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const plot = byId("plot"), reading = byId("reading"), legend = byId("legend"), which = byId("which");
  const HINT = reading.textContent;
  const exponent = (curve) => (curve.beta ? `β = ${curve.beta}` : "no power law");
  const hidden = new Set(); // names of curves switched off, by chart and name
  const off = new Set(); // architectures switched off
  let places = []; // drawn points with their places, for hovering and the arrow keys
  let at = -1; // the one that is read out
  let marked = null; // the ring around it

  function element(name, attributes, parent, text) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.appendChild(made);
    return made;
  }

  // Markers as in the figures: circle, square, triangles, diamond, plus, cross, pentagon, hexagon, star.
  function ring(count, inner, turn) {
    const points = [];
    const steps = inner === 1 ? count : 2 * count;
    for (let i = 0; i < steps; i++) {
      const radius = inner === 1 || i % 2 === 0 ? 1 : inner;
      const angle = turn + (2 * Math.PI * i) / steps;
      points.push([radius * Math.sin(angle), -radius * Math.cos(angle)]);
    }
    return points;
  }
  const SHAPES = {
    o: null, s: ring(4, 1, Math.PI / 4), D: ring(4, 1, 0), "^": ring(3, 1, 0), v: ring(3, 1, Math.PI),
    p: ring(5, 1, 0), h: ring(6, 1, 0), "*": ring(5, 0.45, 0), P: ring(4, 0.5, 0), X: ring(4, 0.5, Math.PI / 4),
  };
  const PUBLISHED = ["X", "P", "*", "D", "^", "v", "s", "h"], INK = "#000000";
  function marker(parent, shape, x, y, size, color, hollow, opacity) {
    const look = { fill: hollow ? "#ffffff" : color, stroke: color, "stroke-width": hollow ? 1.5 : 0.5, opacity };
    const outline = SHAPES[shape];
    if (!outline) return element("circle", { cx: x, cy: y, r: size, ...look }, parent);
    const points = outline.map(([dx, dy]) => `${x + 1.2 * size * dx},${y + 1.2 * size * dy}`).join(" ");
    return element("polygon", { points, ...look }, parent);
  }

  const number = (value) => Number(value.toPrecision(3)).toString();
  const shown = (chart) => chart.curves.filter((curve) => !off.has(curve.architecture) && !hidden.has(key(chart, curve)));
  const key = (chart, curve) => `${chart.title}\n${curve.name}`;
  const chosen = () => CHARTS[Number(which.value)];

  function ticks(low, high, log, count) {
    const found = [];
    if (log) {
      const factors = high / low > 300 ? [1] : high / low > 6 ? [1, 2, 5] : [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
        for (const factor of factors) found.push(factor * 10 ** power);
    } else {
      const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
      const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
      for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(value);
    }
    return found.filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
  }

  function scale(low, high, log, from, to) {
    const f = log ? Math.log : (value) => value;
    const a = f(low), b = f(high);
    return (value) => from + ((f(value) - a) / (b - a || 1)) * (to - from);
  }

  function range(values, log) {
    const good = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
    let low = Math.min(...good), high = Math.max(...good);
    if (!good.length) [low, high] = [1, 10];
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 1, high + 1];
    const room = log ? (high / low) ** 0.05 : (high - low) * 0.05;
    return log ? [low / room, high * room] : [low - room, high + room];
  }

  function draw() {
    const chart = chosen();
    const curves = shown(chart);
    const [logx, logy] = [byId("logx").checked, byId("logy").checked];
    const layers = { seeds: byId("seeds").checked, fits: byId("fits").checked, train: byId("train").checked };
    const marks = byId("marks").checked ? chart.marks : [];
    const width = Math.max(300, plot.clientWidth), height = Math.round(Math.min(520, Math.max(300, width * 0.62)));
    const box = { left: 62, right: width - 14, top: 12, bottom: height - 50 };
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "img" });
    svg.setAttribute("aria-label", `${chart.title}: error over training-set size, ${curves.length} curves. ` +
      "Arrow keys walk through the points.");
    const xs = [], ys = [];
    for (const curve of curves) {
      for (const [P, error] of curve.mean) { xs.push(P); ys.push(error); }
      if (layers.seeds) for (const point of curve.points) ys.push(point.error);
      if (layers.train) for (const [, error] of curve.train) ys.push(error);
    }
    for (const mark of marks) for (const [P, error] of mark.points) { xs.push(P); ys.push(error); }
    const [x0, x1] = range(xs, logx), [y0, y1] = range(ys, logy);
    const x = scale(x0, x1, logx, box.left, box.right), y = scale(y0, y1, logy, box.bottom, box.top);
    axes(svg, chart, box, x, y, [...new Set(xs)].sort((a, b) => a - b), [x0, x1, logx], [y0, y1, logy], width);
    const clip = element("clipPath", { id: "inside" }, svg);
    element("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top }, clip);
    const inner = element("g", { "clip-path": "url(#inside)" }, svg);
    const path = (pairs) => pairs.filter(([, v]) => !logy || v > 0).map(([P, v], i) => `${i ? "L" : "M"}${x(P)},${y(v)}`).join("");
    places = [];
    at = -1;
    marked = null;
    for (const curve of curves) {
      if (layers.fits && curve.low.length > 1) {
        const outline = path([...curve.low, ...[...curve.high].reverse()]);
        element("path", { d: `${outline}Z`, fill: curve.color, opacity: 0.13 }, inner);
      }
      if (layers.train)
        element("path", { d: path(curve.train), fill: "none", stroke: curve.color, "stroke-dasharray": "4 3", opacity: 0.7 }, inner);
      const dash = curve.dash.map((length) => 2 * length).join(" ");
      const line = { fill: "none", stroke: curve.color, "stroke-width": 2 };
      if (dash) line["stroke-dasharray"] = dash;
      element("path", { d: path(layers.fits ? curve.fit : curve.mean), ...line }, inner);
      const seeds = layers.seeds ? curve.points : [];
      for (const point of seeds) {
        marker(inner, curve.marker, x(point.P), y(point.error), 2, curve.color, false, 0.5);
        places.push({ x: x(point.P), y: y(point.error), text: words(chart, curve, point) });
      }
      for (const [P, error] of curve.mean) {
        marker(inner, curve.marker, x(P), y(error), 4.2, curve.color, curve.late, 1);
        places.push({ x: x(P), y: y(error), text: words(chart, curve, { P, error, mean: true }) });
      }
    }
    marks.forEach((mark, index) => {
      for (const [P, error] of mark.points) {
        marker(inner, PUBLISHED[index % PUBLISHED.length], x(P), y(error), 4, INK, false, 1);
        const unit = chart.unit ? ` ${chart.unit}` : "";
        places.push({ x: x(P), y: y(error), text: `${mark.name}, P = ${number(P)}, error ${number(error)}${unit}, ${mark.source}` });
      }
    });
    plot.replaceChildren(svg);
    svg.addEventListener("pointermove", (event) => hover(svg, event, width));
    svg.addEventListener("pointerdown", (event) => hover(svg, event, width));
    svg.addEventListener("keydown", walk);
    reading.textContent = HINT;
    svg.dataset.points = String(places.length);
  }

  function axes(svg, chart, box, x, y, sizes, [x0, x1, logx], [y0, y1, logy], width) {
    let last = -Infinity;
    const across = logx ? sizes : ticks(x0, x1, false, width < 500 ? 4 : 8);
    for (const value of across) {
      element("line", { class: "grid", x1: x(value), x2: x(value), y1: box.top, y2: box.bottom }, svg);
      if (x(value) - last < 34) continue;
      last = x(value);
      element("text", { x: x(value), y: box.bottom + 18, "text-anchor": "middle" }, svg, number(value));
    }
    for (const value of ticks(y0, y1, logy, 6)) {
      element("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }, svg);
      element("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, svg, number(value));
    }
    element("path", { class: "axis", fill: "none", d: `M${box.left},${box.top}V${box.bottom}H${box.right}` }, svg);
    element("text", { x: (box.left + box.right) / 2, y: box.bottom + 40, "text-anchor": "middle" }, svg, "Training-set size P (frames)");
    const middle = (box.top + box.bottom) / 2;
    element("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, svg, chart.y);
  }

  function words(chart, curve, point) {
    const unit = chart.unit ? ` ${chart.unit}` : "";
    const parts = [curve.name, `P = ${number(point.P)}`];
    if (point.mean) return [...parts, `mean error ${number(point.error)}${unit}`, exponent(curve) + (curve.late ? " (not converged)" : "")].join(", ");
    if (point.seed !== "") parts.push(`seed ${point.seed}`);
    parts.push(`error ${number(point.error)}${unit}`);
    if (point.train !== null) parts.push(`training error ${number(point.train)}${unit}`);
    if (point.converged !== null) parts.push(point.converged ? "converged" : "not converged");
    if (point.run) parts.push(`run ${point.run}`);
    return parts.join(", ");
  }

  function read(index) {
    at = index;
    const place = places[index];
    if (marked) marked.remove();
    marked = element("circle", { class: "here", cx: place.x, cy: place.y, r: 8 }, plot.querySelector("svg"));
    reading.textContent = place.text;
  }

  function hover(svg, event, width) {
    const frame = svg.getBoundingClientRect();
    const zoom = width / frame.width;
    const [px, py] = [(event.clientX - frame.left) * zoom, (event.clientY - frame.top) * zoom];
    let best = -1, least = 24 ** 2; // px: within reach of a finger
    places.forEach((place, index) => {
      const distance = (place.x - px) ** 2 + (place.y - py) ** 2;
      if (distance < least) [best, least] = [index, distance];
    });
    if (best >= 0 && best !== at) read(best);
  }

  function walk(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !places.length) return;
    event.preventDefault();
    read(at < 0 ? (step > 0 ? 0 : places.length - 1) : (at + step + places.length) % places.length);
  }

  function list() {
    const chart = chosen();
    legend.replaceChildren(...chart.curves.filter((curve) => !off.has(curve.architecture)).map((curve) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!hidden.has(key(chart, curve))));
      const swatch = element("svg", { width: 34, height: 16, "aria-hidden": "true" }, button);
      const dash = curve.dash.map((length) => 2 * length).join(" ");
      element("line", { x1: 1, x2: 33, y1: 8, y2: 8, stroke: curve.color, "stroke-width": 2, ...(dash ? { "stroke-dasharray": dash } : {}) }, swatch);
      marker(swatch, curve.marker, 17, 8, 4.2, curve.color, curve.late, 1);
      button.append(`${curve.name}: ${exponent(curve)}${curve.late ? " (not converged)" : ""}`);
      button.addEventListener("click", () => {
        const name = key(chart, curve);
        if (!hidden.delete(name)) hidden.add(name);
        button.setAttribute("aria-pressed", String(!hidden.has(name)));
        draw();
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }), ...chart.marks.map((mark, index) => {
      const item = document.createElement("li");
      item.className = "published";
      const swatch = element("svg", { width: 34, height: 16, "aria-hidden": "true" }, item);
      marker(swatch, PUBLISHED[index % PUBLISHED.length], 17, 8, 4, INK, false, 1);
      item.append(mark.name);
      return item;
    }));
    byId("published").hidden = !chart.marks.length;
    byId("sources").textContent = chart.sources;
  }

  function architectures() {
    const field = byId("architectures");
    field.querySelectorAll("label").forEach((label) => label.remove());
    for (const name of new Set(chosen().curves.map((curve) => curve.architecture))) {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !off.has(name);
      box.addEventListener("change", () => {
        if (!off.delete(name)) off.add(name);
        list();
        draw();
      });
      label.append(box, ` ${name}`);
      field.append(label);
    }
  }

  // The calculator: forecasts come as points of each curve, between which they are interpolated on logarithmic axes.
  const of = byId("of"), frames = byId("frames"), error = byId("error"), answer = byId("forecast-answer");

  function interpolate(points, x, from, to) { // the first place where `from` passes x; null if it never does
    for (let i = 1; i < points.length; i++) {
      const [a, b] = [Math.log(points[i - 1][from]), Math.log(points[i][from])];
      const share = a === b ? (Math.log(x) === a ? 0 : -1) : (Math.log(x) - a) / (b - a);
      if (share >= 0 && share <= 1) return Math.exp((1 - share) * Math.log(points[i - 1][to]) + share * Math.log(points[i][to]));
    }
    return null;
  }

  function forecast() {
    const chart = chosen(), curve = chart.curves[Number(of.value)];
    const unit = chart.unit ? ` ${chart.unit}` : "";
    const last = curve.mean[curve.mean.length - 1];
    const points = [[last[0], last[1], last[1], last[1]], ...curve.ahead];
    const farthest = number(points[points.length - 1][0]);
    const shown = (value) => (value === null ? `more than ${farthest}` : number(value));
    const beyond = (p) => (p > curve.calibrated * 1.001 ? " (uncalibrated)" : "");
    const parts = [];
    if (!curve.ahead.length) parts.push("No forecast");
    else if (frames.value && Number(frames.value) > 0) {
      const at = Number(frames.value), found = [1, 2, 3].map((to) => interpolate(points, at, 0, to));
      parts.push(found[0] === null ? `${number(at)} frames lie outside ${number(last[0])} to ${farthest}`
        : `${number(at)} frames: error ${number(found[0])}${unit}, 95 % ${number(found[1])} to ${number(found[2])}${beyond(at)}`);
    } else if (error.value && Number(error.value) > 0) {
      const goal = Number(error.value), found = [1, 2, 3].map((from) => interpolate(points, goal, from, 0));
      const first = curve.mean[0];
      const there = goal >= first[1] ? `the smallest P, ${number(first[0])},` : `P = ${Math.round(interpolate(curve.mean, goal, 1, 0))}`;
      parts.push(goal >= last[1] ? `Error ${number(goal)}${unit}: reached at ${there} already`
        : found.every((value) => value === null) ? `Error ${number(goal)}${unit}: more than ${farthest} frames`
        : `Error ${number(goal)}${unit}: ${shown(found[0])} frames, 95 % ${shown(found[1])} to ${shown(found[2])}${beyond(found[0] ?? 0)}`);
    }
    if (curve.limit) parts.push(curve.limit[0].toUpperCase() + curve.limit.slice(1));
    answer.textContent = parts.join(". ");
  }

  function calculator() {
    of.replaceChildren(...chosen().curves.map((curve, index) => {
      const option = document.createElement("option");
      option.value = String(index);
      option.textContent = `${chosen().title}, ${curve.name}`;
      return option;
    }));
    forecast();
  }

  // The chart as it is drawn, with the page's own look written into it, and its points as a table.
  function drawn() {
    const svg = plot.querySelector("svg"), copy = svg.cloneNode(true);
    copy.setAttribute("xmlns", SVG);
    const from = svg.querySelectorAll("*");
    copy.querySelectorAll("*").forEach((node, index) => {
      const look = getComputedStyle(from[index]);
      for (const name of ["fill", "stroke", "stroke-width", "font-family", "font-size", "opacity"])
        node.setAttribute(name, look.getPropertyValue(name));
    });
    return new XMLSerializer().serializeToString(copy);
  }

  function offer(name, address) {
    const link = document.createElement("a");
    link.download = name;
    link.href = address;
    link.click();
  }

  const named = (ending) => `${chosen().title.replace(/[^\p{L}\p{N}]+/gu, "_")}.${ending}`;
  const asAddress = (kind, text) => `data:${kind};charset=utf-8,${encodeURIComponent(text)}`;

  function savePicture() {
    const image = new Image(), svg = plot.querySelector("svg"), zoom = 3;
    const [name, width, height] = [named("png"), svg.clientWidth, svg.clientHeight];
    image.addEventListener("load", () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [zoom * width, zoom * height];
      const context = canvas.getContext("2d");
      context.fillStyle = "#ffffff";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      offer(name, canvas.toDataURL("image/png"));
    });
    image.src = asAddress("image/svg+xml", drawn());
  }

  function points() {
    const cell = (value) => /[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? "");
    const rows = shown(chosen()).flatMap((curve) => curve.points.map((one) => [curve.name, one.P, one.seed, one.error, one.train]));
    return [["model", "P", "seed", "error", "train_error"], ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
  }

  function change() {
    architectures();
    list();
    draw();
    calculator();
  }

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
        const rows = [...body.rows].sort((one, two) => {
          const [a, b] = [value(one), value(two)];
          const [m, n] = [Number(a), Number(b)];
          const numbers = row => row.cells[column].dataset.v !== undefined;
          if (!numbers(one)) return (up ? 1 : -1) * a.localeCompare(b, "en", { numeric: true });
          if (Number.isNaN(m) || Number.isNaN(n)) return Number.isNaN(m) - Number.isNaN(n); // unknown ones last
          return (up ? 1 : -1) * (m - n);
        });
        body.append(...rows);
      });
    });
  }

  CHARTS.forEach((chart, index) => {
    const option = document.createElement("option");
    option.value = String(index);
    option.textContent = chart.title;
    which.append(option);
  });
  sortable(byId("table"));
  if (CHARTS.length) {
    byId("controls").hidden = byId("figure").hidden = false;
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    which.addEventListener("change", change);
    byId("save-svg").addEventListener("click", () => offer(named("svg"), asAddress("image/svg+xml", drawn())));
    byId("save-png").addEventListener("click", savePicture);
    byId("save-csv").addEventListener("click", () => offer(named("csv"), asAddress("text/csv", points())));
    byId("calculator").hidden = false;
    byId("calculator").addEventListener("submit", (event) => event.preventDefault());
    of.addEventListener("change", forecast);
    for (const [one, other] of [[frames, error], [error, frames]]) {
      one.addEventListener("input", () => {
        other.value = "";
        forecast();
      });
    }
    for (const id of ["logx", "logy", "seeds", "fits", "train", "marks"]) byId(id).addEventListener("change", draw);
    let wide = 0;
    new ResizeObserver(() => {
      if (plot.clientWidth !== wide) {
        wide = plot.clientWidth;
        draw();
      }
    }).observe(plot);
    change();
  }
})();
