"use strict";
(() => {
  const WIDTH = 860, HEIGHT = 240, LEFT = 64, RIGHT = 12, TOP = 10, BOTTOM = 26;
  const charts = JSON.parse(document.getElementById("report").textContent).charts;
  const tip = document.getElementById("tip");
  const number = value => value === null ? "–" : value.toLocaleString("en-US", { maximumSignificantDigits: 6 });
  const make = (parent, name, attributes) => {
    const node = document.createElementNS(parent.namespaceURI, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    return node;
  };
  for (const chart of charts) {
    const svg = document.getElementById("chart-" + chart.id);
    if (!svg) continue;
    const cross = svg.querySelector(".cross");
    const low = Number(svg.dataset.low), high = Number(svg.dataset.high);
    const times = [...new Set(chart.lines.flatMap(line => line.points.map(point => point[0])))].sort((a, b) => a - b);
    const values = chart.lines.map(line => new Map(line.points));
    const x = at => LEFT + (at - chart.from_ms) / (chart.to_ms - chart.from_ms) * (WIDTH - LEFT - RIGHT);
    const y = value => HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let at = -1;
    const hide = () => { at = -1; cross.replaceChildren(); tip.hidden = true; };
    const show = index => {
      at = Math.max(0, Math.min(times.length - 1, index));
      const time = times[at];
      cross.replaceChildren(make(cross, "line", { x1: x(time), x2: x(time), y1: TOP, y2: HEIGHT - BOTTOM }));
      const rows = [new Date(time).toISOString().replace(".000Z", "Z")];
      chart.lines.slice(0, 8).forEach((line, place) => {
        const value = values[place].get(time);
        if (value === undefined) return;
        rows.push(line.name + ": " + number(value) + " " + chart.unit);
        if (value !== null) {
          cross.append(make(cross, "circle", { cx: x(time), cy: y(value), r: 3.5, style: "fill:var(--c" + place + ")" }));
        }
      });
      for (const level of chart.thresholds) rows.push(level.name + " at " + number(level.value) + " " + chart.unit);
      tip.textContent = rows.join("\n");
      tip.hidden = false;
      const box = svg.getBoundingClientRect();
      const left = box.left + x(time) / WIDTH * box.width;
      const right = left + 14 + tip.offsetWidth > document.documentElement.clientWidth;
      tip.style.left = Math.max(4, right ? left - 14 - tip.offsetWidth : left + 14) + scrollX + "px";
      tip.style.top = box.top + 12 + scrollY + "px";
    };
    const nearest = event => {
      const box = svg.getBoundingClientRect();
      const place = (event.clientX - box.left) / box.width * WIDTH;
      const time = chart.from_ms + (place - LEFT) / (WIDTH - LEFT - RIGHT) * (chart.to_ms - chart.from_ms);
      let first = 0, last = times.length - 1;
      while (first < last) {
        const middle = (first + last) >> 1;
        if (times[middle] < time) first = middle + 1; else last = middle;
      }
      return first > 0 && time - times[first - 1] < times[first] - time ? first - 1 : first;
    };
    if (!times.length) continue;
    svg.addEventListener("pointermove", event => show(nearest(event)));
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focus", () => { if (at < 0 && svg.matches(":focus-visible")) show(times.length - 1); });
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", event => {
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 20, PageDown: at + 20, Home: 0, End: times.length - 1 }[event.key];
      if (event.key === "Escape") hide();
      else if (to !== undefined) { show(to); event.preventDefault(); }
    });
  }
})();
