#!/bin/sh
# After a removal, or a purge. Stores, backups and keys stay, and the user that owns them:
# only an empty directory is removed.
set -e
root=${DPKG_ROOT:-}
if [ -d "$root/run/systemd/system" ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ]; then
	for dir in /etc/kivaloo /var/lib/kivaloo-backup /var/lib/kivaloo; do
		[ -d "$root$dir" ] || continue
		rmdir "$root$dir" 2>/dev/null || echo "kivaloo: $dir is not empty, so it stays"
	done
fi
