# $1 is how many versions will be left: 0 if this is no upgrade.
if [ "$1" -eq 0 ] && command -v systemctl >/dev/null; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now latency-monitor.service || :
    else
        systemctl --no-reload disable latency-monitor.service || :
    fi
fi
