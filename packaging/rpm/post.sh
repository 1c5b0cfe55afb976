# $1 is how many versions are installed now: 1 after a first installation. The host's presets say whether it starts.
if [ "$1" -eq 1 ] && command -v systemctl >/dev/null; then
    systemctl --no-reload preset latency-monitor.service || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
