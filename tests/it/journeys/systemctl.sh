#!/bin/sh
# Stands in for systemctl: starts, stops and shows one daemon. $PLACE is its directory; the daemon
# counts as ready when its log says that it has started.
pid() { cat "$PLACE/pid" 2>/dev/null; }
# What has ended may stay in the list until somebody asks for it; what it held is free when its last
# thread is gone.
alive() {
    [ -n "$(pid)" ] && [ -r "/proc/$(pid)/stat" ] || return 1
    grep -qv ') Z ' "/proc/$(pid)/stat" 2>/dev/null || [ "$(ls "/proc/$(pid)/task" | wc -l)" -gt 1 ]
}
end() {
    if alive; then kill "$(pid)"; fi
    tries=0
    while alive; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then kill -9 "$(pid)"; fi
        sleep 0.05
    done
}
echo "$@" >>"$PLACE/calls"
case $1 in
restart)
    end
    : >"$PLACE/log"
    setsid "$PLACE/bin/crmirror" --config "$PLACE/crmirror.toml" run \
        </dev/null >"$PLACE/log" 2>&1 &
    echo $! >"$PLACE/pid"
    until grep -q ' started$' "$PLACE/log"; do
        if ! alive; then
            tail -n 1 "$PLACE/log" >&2
            echo done >>"$PLACE/calls"
            exit 1
        fi
        sleep 0.05
    done
    echo done >>"$PLACE/calls"
    ;;
stop)
    end
    touch "$PLACE/stopped"
    ;;
show)
    if alive; then state=active; elif [ -e "$PLACE/stopped" ]; then state=inactive; else state=failed; fi
    echo "NRestarts=$(cat "$PLACE/again" 2>/dev/null || echo 0)"
    echo "ActiveState=$state"
    ;;
*) exit 2 ;;
esac
