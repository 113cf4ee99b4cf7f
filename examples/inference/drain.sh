#!/bin/sh
# The drain hook of a pool whose machines serve at port 8000: ends when no request is under way any more.
# The gateway sends no new one within two seconds of hearing that the machine drains.
sleep 2
while [ -n "$(ss -Hnt state established 'sport = :8000')" ]; do sleep 0.2; done
