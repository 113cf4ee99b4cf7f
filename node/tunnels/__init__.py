"""The edge between what is known of the network and wg(8): here keys change, and nobody else need know.

Everywhere else a node is known by its enrolment key, which the roster or its lease has. What its interface uses may be
another one, that it has made itself; :class:`node.tunnels.tunnels.Tunnels` translates.
"""
