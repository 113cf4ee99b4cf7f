// The map: a box for each site, in it its gateways and nodes, each on its link; a backbone joins the boxes.

const LABELLED = 12;
/** A site with more nodes than this shows them as marks alone; the table has their names. */
const ROW = 25, HEAD = 54, GATE = 34, CELL = 19, GAP = 22, GUTTER = 16, RAIL = 20;

function fit(text, width) {
  const letters = Array.from(plain(text)), room = Math.max(3, Math.floor(width / 7.4));
  return letters.length <= room ? letters.join("") : `${letters.slice(0, room - 1).join("")}…`;
}

function label(x, y, text, kind = "", anchor = "start") {
  const made = draw("text", { x, y, class: kind, "text-anchor": anchor, direction: "ltr", "unicode-bidi": "isolate" });
  made.textContent = text;
  return made;
}

function line(kind, path) {
  return draw("path", { class: `link ${kind}`, d: path });
}

function heightOf(site, width) {
  const base = HEAD + site.gateways.length * GATE + 10;
  if (site.nodes.length <= LABELLED) return base + site.nodes.length * ROW;
  const kinds = new Set(site.nodes.map((node) => node.link)).size;
  const perRow = Math.floor((width - RAIL - 34) / CELL);
  return base + kinds * ROW + Math.ceil(site.nodes.length / perRow) * CELL + Math.min(4, downs(site).length) * 20 + 6;
}

function downs(site) {
  return site.nodes.filter((node) => node.state === "down");
}

/** How the tunnels of a site without a gateway are, taken together. */
function bundle(nodes) {
  const kinds = new Set(nodes.map((node) => node.link));
  return ["fresh", "old", "dead"].find((kind) => kinds.has(kind)) ?? "none";
}

function showMap(status, nodes, holder) {
  const width = Math.max(280, holder.clientWidth - parseFloat(getComputedStyle(holder).paddingLeft) * 2);
  const sites = sitesOf(status, nodes);
  const columns = Math.max(1, Math.min(sites.length, Math.floor((width - GUTTER + GAP) / (270 + GAP))));
  const boxWidth = (width - GUTTER - 1 - (columns - 1) * GAP) / columns;
  const svg = draw("svg", { role: "img", width, "aria-label": spoken(sites, nodes) });
  const [back, between, front] = ["g", "g", "g"].map((tag) => svg.appendChild(draw(tag)));
  const places = new Map();
  let top = GAP;
  for (let start = 0; start < sites.length; start += columns) {
    const row = sites.slice(start, start + columns);
    const height = Math.max(...row.map((site) => heightOf(site, boxWidth)));
    const bus = top - GAP / 2;
    const last = GUTTER + (row.length - 1) * (boxWidth + GAP) + RAIL;
    if (sites.length > 1) {
      back.append(line("none", `M${columns < sites.length ? GUTTER / 2 : GUTTER + RAIL} ${bus}H${last}`));
      if (start + columns < sites.length) back.append(line("none", `M${GUTTER / 2} ${bus}V${top + height + GAP / 2}`));
    }
    row.forEach((site, at) => box(back, front, status, site, GUTTER + at * (boxWidth + GAP), top, boxWidth, height, sites.length > 1, places));
    top += height + GAP;
  }
  const links = status.links ?? [];
  if (links.length <= 60) {
    for (const pair of links) {
      const [one, other] = pair.map((name) => places.get(name));
      if (one && other) between.append(arc(one, other));
    }
  }
  svg.setAttribute("height", top - GAP / 2);
  svg.setAttribute("viewBox", `0 0 ${width} ${top - GAP / 2}`);
  holder.replaceChildren(svg);
}

function arc([x, y], [toX, toY]) {
  const bend = x === toX ? x + 40 + Math.abs(toY - y) / 8 : (x + toX) / 2;
  return line("direct", `M${x} ${y}C${bend} ${y} ${bend} ${toY} ${toX} ${toY}`);
}

function box(back, svg, status, site, x, y, width, height, isJoined, places) {
  const probed = [...site.gateways, ...site.nodes].filter((node) => node.state !== "away");
  const silent = probed.filter((node) => node.state === "down").length;
  back.append(draw("rect", { class: silent ? "site broken" : "site", x, y, width, height, rx: 10 }));
  const rail = x + RAIL, isOwn = site.gateways.some((node) => node.isOwn);
  const kind = isOwn ? "none" : site.gateways.length ? site.gateways[0].link : bundle(site.nodes);
  if (isJoined) svg.append(line(kind, `M${rail} ${y - GAP / 2}V${y + HEAD - 2}`));
  const unwell = probed.filter((node) => node.state === "unwell").length;
  const [tally, tone] = silent ? [`${silent} of ${probed.length} silent`, "alarm"] : unwell ? [`${unwell} of ${probed.length} unwell`, "warn"]
    : [probed.length ? `all ${probed.length} well` : "away", "dim"];
  svg.append(label(rail + 12, y + 23, fit(site.name, (width - RAIL - 30 - tally.length * 7.4) * 0.9), "strong"));
  svg.append(label(x + width - 12, y + 23, tally, tone, "end"));
  svg.append(label(rail + 12, y + 41, fit([site.cloud, site.region, site.subnet].filter(Boolean).join(" · "), width - RAIL - 20), "dim"));
  let at = y + HEAD + 10;
  for (const gate of site.gateways) {
    svg.append(draw("rect", { class: "m gate", x: rail - 12, y: at - 12, width: 24, height: 24, rx: 6 }), mark(gate.state, rail, at));
    svg.append(label(rail + 22, at + 4.5, fit(gate.name, width - RAIL - 140), "strong"));
    svg.append(label(x + width - 12, at + 4.5, gate.isOwn ? "this gateway" : `gateway ${beside(gate)}`, TONES[gate.state] ?? "dim", "end"));
    at += GATE;
  }
  const from = site.gateways.length ? y + HEAD + 22 : y + HEAD - 2;
  const ordered = [...site.nodes].sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
  const near = new Set([status.gateway.name, ...site.gateways.map((gate) => gate.name)]);
  (ordered.length <= LABELLED ? labelled : crowd)(svg, ordered, { x, rail, from, at, width, near }, places);
}

function beside(node) {
  return node.state === "up" ? trip(node.rtt) : node.word;
}

function labelled(svg, nodes, { x, rail, from, at, width, near }, places) {
  if (nodes.length) svg.append(line("none", `M${rail} ${from}V${at + (nodes.length - 1) * ROW}`));
  for (const node of nodes) {
    const told = node.hangs && !near.has(node.hangs) ? `${beside(node)} by ${fit(node.hangs, 90)}` : beside(node);
    const item = draw("g", { "data-node": node.name, "data-state": node.state });
    item.append(line(node.link, `M${rail} ${at}H${rail + 24}`), mark(node.state, rail + 33, at));
    item.append(label(rail + 48, at + 4.5, fit(node.name, width - RAIL - 66 - told.length * 7)));
    item.append(label(x + width - 12, at + 4.5, told, TONES[node.state] ?? "dim", "end"));
    svg.append(item);
    places.set(node.name, [rail + 33, at]);
    at += ROW;
  }
}

const TONES = { down: "alarm", unwell: "warn" };
const TUNNELS = { fresh: "fresh", old: "older", dead: "dead", none: "not to this gateway" };

function crowd(svg, nodes, { x, rail, from, at, width }, places) {
  const kinds = Object.keys(TUNNELS).filter((kind) => nodes.some((node) => node.link === kind));
  svg.append(line("none", `M${rail} ${from}V${at + (kinds.length - 1) * ROW}`));
  for (const kind of kinds) {
    const tunnels = nodes.filter((node) => node.link === kind).length;
    svg.append(line(kind, `M${rail} ${at}H${rail + 24}`));
    svg.append(label(rail + 32, at + 4.5, `${count(tunnels, "tunnel", "tunnels")} ${TUNNELS[kind]}`, kind === "dead" ? "alarm" : "dim"));
    at += ROW;
  }
  const perRow = Math.floor((width - RAIL - 34) / CELL);
  nodes.forEach((node, number) => {
    const place = [rail + 12 + (number % perRow) * CELL, at + Math.floor(number / perRow) * CELL];
    const title = draw("title");
    title.textContent = `${plain(node.name)}: ${node.word}`;
    svg.append(draw("g", { "data-node": node.name, "data-state": node.state }, title, mark(node.state, ...place, 15)));
    places.set(node.name, place);
  });
  at += Math.ceil(nodes.length / perRow) * CELL + 6;
  const silent = nodes.filter((node) => node.state === "down"), more = silent.length - 4;
  silent.slice(0, 4).forEach((node, number) => {
    const rest = number === 3 && more > 0 ? ` and ${more} more` : "";
    svg.append(label(rail + 4, at + number * 20 + 4, `${fit(node.name, width - RAIL - 60 - rest.length * 7)} silent${rest}`, "alarm"));
  });
}

function spoken(sites, nodes) {
  const silent = nodes.filter((node) => node.state === "down").map((node) => plain(node.name));
  const told = silent.length ? `Silent: ${silent.slice(0, 8).join(", ")}${silent.length > 8 ? ` and ${silent.length - 8} more` : ""}.` : "No node is silent.";
  return `Map of ${count(sites.length, "site", "sites")} with ${count(nodes.length, "node", "nodes")}. ${told} The table of nodes has the details.`;
}
