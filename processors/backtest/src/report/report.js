"use strict";
(() => {
  const { points, trades, frame: [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] } = JSON.parse(document.getElementById("values").textContent);
  const tip = document.getElementById("tip");
  if (!points.length) return;
  const from = points[0][0], to = Math.max(points[points.length - 1][0], from + 1);
  const number = value => value.toLocaleString("en-US", { maximumFractionDigits: 2 });
  const make = (parent, name, attributes) => {
    const node = document.createElementNS(parent.namespaceURI, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    return node;
  };
  for (const [id, value] of [["equity", point => point[1]], ["drawdown", point => -point[2]]]) {
    const svg = document.getElementById(id);
    if (!svg) continue;
    const cross = svg.querySelector(".cross");
    const low = Number(svg.dataset.low), high = Number(svg.dataset.high);
    const x = at => LEFT + (at - from) / (to - from) * (WIDTH - LEFT - RIGHT);
    const y = height => HEIGHT - BOTTOM - (height - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let at = -1;
    const hide = () => { at = -1; cross.replaceChildren(); tip.hidden = true; };
    const show = index => {
      at = Math.max(0, Math.min(points.length - 1, index));
      const point = points[at];
      cross.replaceChildren(
        make(cross, "line", { x1: x(point[0]), x2: x(point[0]), y1: TOP, y2: HEIGHT - BOTTOM }),
        make(cross, "circle", { cx: x(point[0]), cy: y(value(point)), r: 3.5 }));
      const rows = [new Date(point[0]).toISOString().replace(".000Z", "Z"), "equity " + number(point[1]), "close " + number(point[3]), "drawdown " + number(point[2]) + " %"];
      const begin = at ? points[at - 1][0] : -Infinity;
      const here = trades.filter(trade => trade[0] > begin && trade[0] <= point[0]);
      rows.push(...here.slice(0, 6).map(trade => trade[1]));
      if (here.length > 6) rows.push("and " + (here.length - 6) + " more");
      tip.textContent = rows.join("\n");
      tip.hidden = false;
      const box = svg.getBoundingClientRect();
      const left = box.left + x(point[0]) / WIDTH * box.width;
      const right = left + 14 + tip.offsetWidth > document.documentElement.clientWidth;
      tip.style.left = Math.max(4, right ? left - 14 - tip.offsetWidth : left + 14) + scrollX + "px";
      tip.style.top = box.top + 12 + scrollY + "px";
    };
    const nearest = event => {
      const box = svg.getBoundingClientRect();
      const place = (event.clientX - box.left) / box.width * WIDTH;
      const time = from + (place - LEFT) / (WIDTH - LEFT - RIGHT) * (to - from);
      let first = 0, last = points.length - 1;
      while (first < last) {
        const middle = (first + last) >> 1;
        if (points[middle][0] < time) first = middle + 1; else last = middle;
      }
      return first > 0 && time - points[first - 1][0] < points[first][0] - time ? first - 1 : first;
    };
    svg.addEventListener("pointermove", event => show(nearest(event)));
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focus", () => { if (at < 0 && svg.matches(":focus-visible")) show(points.length - 1); });
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", event => {
      const next = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 20, PageDown: at + 20, Home: 0, End: points.length - 1 }[event.key];
      if (event.key === "Escape") hide();
      else if (next !== undefined) { show(next); event.preventDefault(); }
    });
  }
})();
