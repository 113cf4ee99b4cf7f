// From the gateway's status to what is shown: every node with one state and one kind of link.

const FRESH_SECONDS = 135;
/** A handshake is made anew every two minutes; a session ends three minutes after its own. */
const DEAD_SECONDS = 180;
const JOINING_SECONDS = 60;
const WORST = { down: 0, unwell: 1, draining: 2, joining: 3, away: 4, up: 5 };

function nodesOf(status) {
  const own = status.gateway;
  const nodes = [reported(status, {
    name: own.name, site: own.site, address: own.address, kind: "gateway", isOwn: true,
    state: status.healthy ? "up" : "down", word: status.healthy ? "this gateway" : "not well", link: "none", hangs: null,
  })];
  for (const peer of status.peers) nodes.push(declared(status, peer));
  for (const lease of status.leases) nodes.push(leased(status, lease));
  for (const other of status.elsewhere) {
    const drains = other.state === "draining";
    nodes.push({
      ...other, kind: other.pool, state: drains ? "draining" : "away", word: drains ? "draining" : "elsewhere",
      link: "none", hangs: null, handshake_age: undefined,
    });
  }
  return nodes;
}

function isExternal(status, site) {
  return status.sites[site]?.cloud === "external";
}

function declared(status, peer) {
  const node = { ...peer, kind: peer.role, hangs: peer.gateway, state: "up", word: "answers" };
  if (!peer.healthy) {
    [node.state, node.word] = isExternal(status, peer.site) ? ["away", "away"] : ["down", "silent"];
  }
  return linked(status, reported(status, node));
}

/** A node that answers, and says itself that something is wrong with it. */
function reported(status, node) {
  const told = status.conditions?.[node.name];
  if (node.state !== "up" || !told || told.healthy) return node;
  return { ...node, state: "unwell", word: "unwell" };
}

function leased(status, lease) {
  const node = { ...lease, kind: lease.pool, hangs: lease.gateway, state: "up", word: "answers" };
  if (lease.state !== "active") {
    [node.state, node.word] = ["draining", lease.state === "left" ? "leaving" : "draining"];
  } else if (!lease.healthy) {
    const isNew = status.time - lease.joined < JOINING_SECONDS && lease.handshake_age === null;
    if (isNew) [node.state, node.word] = ["joining", "joining"];
    else if (isExternal(status, lease.site)) [node.state, node.word] = ["away", "away"];
    else [node.state, node.word] = ["down", "silent"];
  }
  return linked(status, reported(status, node));
}

/** ``link`` is the tunnel's kind: fresh, old, dead, or none to this gateway. */
function linked(status, node) {
  const isHere = node.kind === "gateway" || node.hangs === status.gateway.name;
  if (!isHere && node.handshake_age === null) node.handshake_age = undefined;
  if (node.state === "down") node.link = "dead";
  else if (!isHere || node.state === "away" || node.state === "joining") node.link = "none";
  else if (node.handshake_age === null || node.handshake_age >= DEAD_SECONDS) node.link = "dead";
  else node.link = node.handshake_age < FRESH_SECONDS ? "fresh" : "old";
  return node;
}

function worstFirst(one, other) {
  return WORST[one.state] - WORST[other.state]
    || (one.kind !== "gateway") - (other.kind !== "gateway")
    || String(one.site).localeCompare(String(other.site))
    || one.name.localeCompare(other.name, undefined, { numeric: true });
}

/** Sites in the map's order: this gateway's own first, the emptiest last. */
function sitesOf(status, nodes) {
  const sites = new Map(Object.entries(status.sites).map(([name, site]) => [name, { name, ...site, gateways: [], nodes: [] }]));
  for (const node of nodes) {
    const name = node.site ?? "";
    if (!sites.has(name)) sites.set(name, { name, cloud: "", region: "", subnet: "", gateways: [], nodes: [] });
    sites.get(name)[node.kind === "gateway" ? "gateways" : "nodes"].push(node);
  }
  const own = status.gateway.site;
  return [...sites.values()]
    .filter((site) => site.gateways.length || site.nodes.length)
    .sort((one, other) => (other.name === own) - (one.name === own) || other.gateways.length - one.gateways.length || one.name.localeCompare(other.name));
}
