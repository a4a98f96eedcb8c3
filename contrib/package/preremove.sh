#!/bin/sh
# Before a removal, but not before an upgrade: dpkg says "remove", rpm says 0.
set -e
case $1 in
remove | 0)
	if [ -d "${DPKG_ROOT:-}/run/systemd/system" ]; then
		systemctl disable --now kivaloo-backup.timer kivaloo-mux.service kivaloo.service
	fi
	;;
esac
