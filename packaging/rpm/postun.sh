# What was measured stays in /var/lib/latency-monitor. $1 is how many versions are left: with one, this was an upgrade.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart latency-monitor.service || :
    fi
fi
if [ "$1" -eq 0 ]; then
    # The package lists files and no folders. One that has something else in it stays.
    doc=/usr/share/doc/latency-monitor
    for folder in $doc/examples/drop-ins $doc/examples/sysctl $doc/examples $doc \
        /usr/share/licenses/latency-monitor /etc/latency-monitor; do
        rmdir "$folder" 2>/dev/null || :
    done
fi
