#!/bin/sh
# After an installation or an upgrade, of the .deb and of the .rpm. Nothing is enabled or started
# unasked; what runs already is restarted with the new programs.
set -e
root=${DPKG_ROOT:-}

if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers ${root:+--root="$root"} kivaloo.conf
else
	getent group kivaloo >/dev/null || groupadd --system kivaloo
	getent passwd kivaloo >/dev/null || useradd --system --gid kivaloo --home-dir /var/lib/kivaloo \
		--no-create-home --shell /usr/sbin/nologin kivaloo
fi
if [ -d "$root/run/systemd/system" ]; then
	systemctl daemon-reload
	systemctl try-restart kivaloo.service kivaloo-mux.service
fi
