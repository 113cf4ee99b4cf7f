#!/bin/sh
# Keeps one machine running: supervise.sh FOLDER NAMESPACE HOSTNAME REPOSITORY REPOSITORY_MOUNT [NSPAWN]
# Ends when the machine powers off or crashes. nspawn exits with 133 when its machine wants to be booted again.
set -u

main() {
    folder=$1 namespace=$2 hostname=$3 repository=$4 repository_mount=$5

    exec 9>"$folder/supervisor.lock"
    flock -w 5 9 || exit 0  # whoever looks whether a supervisor lives holds it for an instant

    # A control group of its own tells its processes from every other machine's.
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        [ -e "$hierarchy/cgroup.procs" ] || continue
        mkdir -p "$hierarchy/$namespace"
        echo $$ >"$hierarchy/$namespace/cgroup.procs"
    done

    # The supervisor before this one died and left its machine running: wait for that to end.
    if [ "${6:-}" ]; then
        tail --pid="$6" -f /dev/null 9>&-
        [ "$(cat "$folder/power")" = on ] || exit 0
    fi

    while :; do
        sh "$folder/links.sh" boot 9>&- || exit 1
        SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn \
            --quiet --register=no --keep-unit --boot --console=read-only --link-journal=no --resolv-conf=off \
            --machine="$namespace" --hostname="$hostname" --directory="$folder/root" \
            --network-namespace-path="/run/netns/$namespace" --capability=CAP_NET_ADMIN --bind=/dev/net/tun \
            --bind-ro="$folder/seed:/var/lib/cloud/seed/nocloud" --bind-ro="$repository:$repository_mount" 9>&-
        code=$?
        sh "$folder/links.sh" off 9>&-  # nobody is there any more to answer or to forward
        echo "systemd-nspawn ended with $code"
        [ "$code" = 133 ] || break
    done
    if [ "$code" = 0 ]; then
        echo off >"$folder/power"
    fi
    exit "$code"
}

# Called on the last line: the shell has read the whole file by then, so a change to it does not reach what runs.
main "$@"
