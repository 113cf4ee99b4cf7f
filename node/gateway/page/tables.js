// The tables, tiles and lists. Rows stay the same elements as long as what they are about does.

const COLUMNS = [
  { key: "state", title: "State", of: (node) => WORST[node.state] },
  { key: "name", title: "Name", of: (node) => node.name },
  { key: "site", title: "Site", of: (node) => node.site ?? "" },
  { key: "kind", title: "Role or pool", of: (node) => node.kind },
  { key: "address", title: "Address", of: (node) => node.address },
  { key: "handshake", title: "Handshake", of: (node) => node.handshake_age ?? Infinity, isNumber: true },
  { key: "rtt", title: "Round trip", of: (node) => node.rtt ?? Infinity, isNumber: true },
  { key: "rx", title: "Received", of: (node) => -(node.rx_rate ?? -1), isNumber: true },
  { key: "tx", title: "Sent", of: (node) => -(node.tx_rate ?? -1), isNumber: true },
];

const sorting = { key: null, isDown: false };
const rows = new Map();
/** What a list shows, so that nothing is put anew that stays. */
const contents = new WeakMap();

function titles(onSort) {
  for (const column of COLUMNS) {
    const button = make("button", { type: "button" }, column.title);
    const cell = make("th", { role: "columnheader", scope: "col", ...(column.isNumber ? { class: "number" } : {}) }, button);
    button.addEventListener("click", () => {
      sorting.isDown = sorting.key === column.key && !sorting.isDown;
      sorting.key = column.key;
      for (const each of by("node-titles").children) each.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sorting.isDown ? "descending" : "ascending");
      onSort();
    });
    by("node-titles").append(cell);
  }
}

function inOrder(nodes) {
  const column = COLUMNS.find((each) => each.key === sorting.key);
  const sorted = [...nodes].sort(worstFirst);
  if (!column) return sorted;
  sorted.sort((one, other) => {
    const [left, right] = [column.of(one), column.of(other)];
    return typeof left === "number" ? (left === right ? 0 : left - right) : left.localeCompare(right, undefined, { numeric: true });
  });
  return sorting.isDown ? sorted.reverse() : sorted;
}

function matches(node, wanted) {
  const text = `${node.name} ${node.site ?? ""} ${node.kind} ${node.address} ${node.word} ${node.endpoint ?? ""}`.toLowerCase();
  return wanted.every((word) => text.includes(word));
}

function showNodes(nodes) {
  const wanted = by("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = inOrder(nodes.filter((node) => matches(node, wanted)));
  const body = by("node-rows"), kept = new Set();
  shown.forEach((node, at) => {
    const id = `${node.kind} ${node.name}`;
    kept.add(id);
    if (!rows.has(id)) rows.set(id, nodeRow(node));
    const row = rows.get(id);
    fill(row, node);
    if (body.children[at] !== row.line) body.insertBefore(row.line, body.children[at] ?? null);
  });
  for (const [id, row] of rows) {
    if (!kept.has(id)) {
      row.line.remove();
      rows.delete(id);
    }
  }
  say(by("shown"), wanted.length ? `${shown.length} of ${count(nodes.length, "node", "nodes")}` : count(nodes.length, "node", "nodes"));
}

function cell(title, kind = "") {
  return make("td", { role: "cell", "data-label": title, class: kind });
}

function nodeRow(node) {
  const name = make("span", { class: "name", title: plain(node.name), dir: "ltr" }, plain(node.name));
  const row = {
    state: make("td", { role: "cell", class: "lead" }),
    cells: [cell("site", "short"), cell("", "short"), cell("", "mono short"), cell("handshake", "number"), cell("round trip", "number"), cell("received", "number"), cell("sent", "number")],
  };
  row.line = make("tr", { role: "row", "data-node": node.name }, row.state, make("th", { role: "rowheader", scope: "row" }, name), ...row.cells);
  return row;
}

function fill(row, node) {
  if (row.shown !== node.state + node.word) {
    row.shown = node.state + node.word;
    row.line.dataset.state = node.state;
    row.state.replaceChildren(badge(node.state, node.word));
  }
  const isHere = node.handshake_age !== undefined;
  const values = [
    plain(node.site), plain(node.kind), plain(node.address), isHere ? age(node.handshake_age) : "–", trip(node.rtt),
    isHere ? rate(node.rx_rate) : "–", isHere ? rate(node.tx_rate) : "–",
  ];
  values.forEach((value, at) => {
    say(row.cells[at], value);
    if (value.length > 20) row.cells[at].title = value;
  });
}

function refill(body, lines, empty, columns) {
  const told = lines.length ? lines : [make("tr", { role: "row" }, make("td", { role: "cell", class: "empty", colspan: columns }, empty))];
  replace(body, told);
}

function replace(holder, children) {
  const text = children.map((each) => each.outerHTML).join("");
  if (contents.get(holder) === text) return;
  contents.set(holder, text);
  holder.replaceChildren(...children);
}

function tr(state, lead, ...cells) {
  return make("tr", { role: "row", "data-state": state }, make("td", { role: "cell", class: "lead" }, badge(state, lead)), ...cells);
}

function td(text, kind = "", title = "") {
  return make("td", { role: "cell", class: kind, ...(title ? { "data-label": title } : {}) }, plain(text));
}

function th(...inner) {
  return make("th", { role: "rowheader", scope: "row" }, ...inner);
}

function named(text) {
  return make("span", { class: "name", dir: "ltr", title: plain(text) }, plain(text));
}

function showBalancer(balancer) {
  by("balancer-part").hidden = !balancer;
  if (!balancer) return;
  const serving = balancer.targets.filter((target) => target.in_rotation).length;
  const ends = balancer.certificate ? ` The certificate ends on ${plain(balancer.certificate.not_after).slice(0, 10)}.` : "";
  const told = balancer.problem ? plain(balancer.problem) : `${serving} of ${count(balancer.targets.length, "machine", "machines")} get requests.`;
  by("balancer-state").replaceChildren(badge(balancer.state === "serving" && !balancer.problem ? "up" : "down", balancer.state), ` ${told}${ends}`);
  refill(by("target-rows"), balancer.targets.map((target) => {
    const [state, word] = target.draining ? ["draining", "draining"] : target.in_rotation ? ["up", "in rotation"]
      : target.healthy ? ["joining", "healthy, not in rotation"] : ["away", "fails its health check"];
    return tr(state, word, th(named(target.name)), td(`${target.address}:${target.port}`, "mono short"), td(`${target.weight}${target.backup ? " backup" : ""}`, "number", "weight"));
  }), "No machine is there that could serve.", 4);
}

function showGateways(status) {
  const others = Object.entries(status.neighbours ?? {});
  by("gateways-part").hidden = !others.length;
  const addresses = new Map(status.peers.map((peer) => [peer.name, peer.address]));
  refill(by("gateway-rows"), others.map(([name, other]) => {
    const address = addresses.get(name);
    const link = address ? make("a", { href: `http://${address}:${location.port || 80}/` }, named(name)) : named(name);
    return tr(other.reachable ? "up" : "down", other.reachable ? "answers" : "silent", th(link), td(age(other.age), "number", "last heard"), td(other.leases, "number", "machines"));
  }), "", 4);
}

const REVOKED = 20;

function showRevoked(status) {
  const revoked = [...(status.revoked ?? [])].sort((one, other) => other.at - one.at), more = revoked.length - REVOKED;
  by("revoked-part").hidden = !revoked.length;
  by("more-revoked").hidden = more <= 0;
  say(by("more-revoked"), `And ${more} before: hybridnet revoke --list.`);
  refill(by("revoked-rows"), revoked.slice(0, REVOKED).map((each) => make("tr", { role: "row" },
    td(when(each.at / 1000, status.time), "mono"), th(named(each.name)), td(each.instance ?? "", "mono short", each.instance ? "instance" : ""), td(each.reason, "long"))), "", 4);
}

function showEvents(events, now) {
  refill(by("event-rows"), events.map((event) => {
    const { time, event: what, node, source, number, ...rest } = event;
    const known = Object.entries(rest).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(" · ");
    const at = Date.parse(time) / 1000;
    return make("tr", { role: "row" }, td(at ? when(at, now) : time, "mono"), th(named(what)), td(node ?? source ?? "", "short"), td(known, "long"));
  }), "Nothing has happened yet.", 4);
}

function showPools(status, nodes) {
  const pools = Object.entries(status.pools ?? {});
  by("pools-part").hidden = !pools.length;
  const tiles = pools.map(([name, pool]) => {
    const members = nodes.filter((node) => node.pool === name && node.kind === name);
    const share = pool.limit ? Math.min(1, pool.working / pool.limit) : 0;
    const gauge = draw("svg", { class: "gauge", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, draw("rect", { class: "used", width: 100 * share, height: 10 }));
    const moving = members.filter((node) => node.state !== "up").map((node) => make("li", {}, badge(node.state, `${plain(node.name)} ${node.word}`)));
    return make("article", { class: "card tile" },
      make("h3", {}, named(name)),
      make("p", {}, `${pool.working} of ${pool.limit} at work`), gauge,
      make("p", { class: "quiet" }, `in ${plain(pool.site)} · ${count(pool.leases, "lease", "leases")} · ${count(pool.free, "address", "addresses")} free, ${pool.resting} resting`),
      make("ul", { "aria-label": "Machines that join, drain or are silent" }, ...moving));
  });
  replace(by("pools"), tiles);
}
