// Asks the gateway again and again, and says so when it does not answer.

const LOOK_MS = 1000, HIDDEN_MS = 4000, PATIENCE_MS = 4000;
const build = document.documentElement.dataset.build;
/** ``latest`` is the last status that could be shown, ``told`` the alerts that were announced. */
let heard = performance.now(), latest = null, told = null, lostAt = null;

function announce(text) {
  by("announcer").textContent = text;
}

function showAlerts(alerts, now, isQuiet) {
  by("no-alerts").hidden = alerts.length > 0 || !isQuiet;
  const list = by("alerts"), known = new Map([...list.children].map((each) => [each.dataset.id, each]));
  const items = alerts.map((alert) => {
    const id = JSON.stringify([alert.name, alert.subject]);
    const item = known.get(id) ?? make("li", { "data-id": id }, make("strong", { class: "level" }), make("span", { class: "summary" }), make("span", { class: "since" }));
    item.dataset.level = alert.severity;
    const [level, summary, since] = item.children;
    say(level, alert.severity === "critical" ? "✖ CRITICAL" : "⚠ WARNING");
    say(summary, plain(alert.summary));
    say(since, `since ${clock(alert.since)} (${age(Math.max(0, now - alert.since))})`);
    return item;
  });
  if (items.length !== list.children.length || items.some((item, at) => item !== list.children[at])) list.replaceChildren(...items);
  const ids = new Map(alerts.map((alert) => [JSON.stringify([alert.name, alert.subject]), `${alert.severity}: ${plain(alert.summary)}`]));
  if (told) {
    const begun = [...ids].filter(([id]) => !told.has(id)).map(([, text]) => text);
    const ended = [...told].filter(([id]) => !ids.has(id)).map(([, text]) => `over: ${text}`);
    if (begun.length || ended.length) announce([...begun, ...ended].join(". "));
  } else {
    announce(alerts.length ? `${count(alerts.length, "alert", "alerts")}. ${[...ids.values()].join(". ")}` : "No alerts.");
  }
  told = ids;
}

function showVerdict(status, nodes) {
  const critical = status.alerts.filter((alert) => alert.severity === "critical").length;
  const silent = nodes.filter((node) => node.state === "down").length;
  const level = critical || silent ? "critical" : status.alerts.length ? "warning" : "good";
  const words = {
    critical: [silent ? `${count(silent, "node", "nodes")} silent` : "", critical ? `${critical} critical` : ""].filter(Boolean).join(", "),
    warning: count(status.alerts.length, "warning", "warnings"),
    good: "all is well",
  }[level];
  const sign = { critical: "✖", warning: "⚠", good: "✓" }[level];
  const verdict = by("verdict");
  verdict.dataset.level = level;
  say(verdict.querySelector(".sign"), sign);
  say(verdict.querySelector(".text"), words);
  say(by("gateway"), plain(status.gateway.name));
  document.title = `${sign} ${plain(status.gateway.name)}: ${words}`;
  const shapes = { critical: '<rect width="16" height="16" fill="%23c01f2e"/>', warning: '<path d="M8 0l8 16H0z" fill="%23d98a00"/>', good: '<circle cx="8" cy="8" r="8" fill="%23148a57"/>' };
  const icon = `data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">${shapes[level]}</svg>`;
  if (by("icon").href !== icon) by("icon").href = icon;
}

/** Whose WireGuard keys are being changed now; null for nobody's. */
function changing(status) {
  const { phase, missing = [], nodes = {} } = status.rotation ?? {};
  const own = phase ? [missing.length ? `this gateway, waiting for ${few(missing)}` : "this gateway"] : [];
  const others = Object.keys(nodes).filter((name) => nodes[name].is_turning);
  return [...own, ...(others.length ? [few(others)] : [])].join("; ") || null;
}

function showFacts(status, nodes) {
  const sum = (name) => nodes.reduce((total, node) => total + (node[name] ?? 0), 0);
  const facts = {
    topology: plain(status.topology ?? "none yet"),
    roster: status.roster ? String(status.roster.number) : "none yet",
    release: String(status.release.number),
    "changing keys": changing(status),
    received: rate(sum("rx_rate")),
    sent: rate(sum("tx_rate")),
    "direct tunnels": status.links?.length ? String(status.links.length) : null,
    "gateway's time": clock(status.time),
  };
  const told = Object.entries(facts).filter(([, value]) => value !== null);
  by("facts").replaceChildren(...told.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function show(status) {
  const nodes = nodesOf(status);
  showVerdict(status, nodes);
  showFacts(status, nodes);
  showAlerts(status.alerts, status.time, nodes.every((node) => node.state !== "down"));
  showMap(status, nodes, by("map"));
  showNodes(nodes);
  showPools(status, nodes);
  showBalancer(status.load_balancer);
  showGateways(status);
  showRevoked(status);
  showEvents(status.events, status.time);
  latest = status;
}

function lose(why) {
  const banner = by("lost");
  if (lostAt === null) lostAt = Date.now() / 1000;
  const was = latest ? `What is below is as it was then.` : "";
  const text = `✖ ${why} since ${clock(lostAt)}. ${was}`;
  if (banner.hidden || banner.textContent !== text) banner.textContent = text;
  banner.hidden = false;
  document.body.classList.add("is-lost");
  document.title = `✖ no connection: ${latest ? plain(latest.gateway.name) : "gateway"}`;
}

function regain() {
  if (lostAt === null) return;
  lostAt = null;
  by("lost").hidden = true;
  document.body.classList.remove("is-lost");
  announce("The gateway answers again.");
}

async function look() {
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), PATIENCE_MS);
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: stop.signal });
    if (answer.status === 403) return lose("This machine may not see the network (only administrators do)");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const status = await answer.json();
    const serving = answer.headers.get("X-Hybridnet-Page");
    if (serving !== build) return location.reload();
    heard = performance.now();
    try {
      show(status);
    } catch (error) {
      console.warn(error);
      return lose("This page cannot show what the gateway tells");
    }
    regain();
  } catch {
    if (performance.now() - heard > PATIENCE_MS) lose("No answer from the gateway");
  } finally {
    clearTimeout(timer);
    setTimeout(look, document.hidden ? HIDDEN_MS : LOOK_MS);
  }
}

let drawn = 0;

function redraw() {
  const width = by("map").clientWidth;
  if (latest && width !== drawn) showMap(latest, nodesOf(latest), by("map"));
  drawn = width;
}

titles(() => latest && showNodes(nodesOf(latest)));
by("filter").addEventListener("input", () => latest && showNodes(nodesOf(latest)));
document.addEventListener("keydown", (event) => {
  const isTyping = event.target === by("filter");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    by("filter").focus();
  } else if (event.key === "Escape" && isTyping && by("filter").value) {
    by("filter").value = "";
    by("filter").dispatchEvent(new Event("input"));
  }
});
new ResizeObserver(redraw).observe(by("map"));
look();
