// What runs on a dom0, in bash, which reads it from its input: nothing of it stands in an argument list, and what follows the
// script there is the script's own input (bash reads a pipe no further than it must).
//
// Invariants:
// - Every script is safe to repeat, and to be cut off in the middle.
// - An answer is `key=value` lines on stdout, line ends in a value as `\n`; a refusal is `error=` and `hint=` lines there, and exit code 64.
// - Values from outside are quoted by `quote`; there is no other way into a script.

/** As a word of bash. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export type ScriptValues = Readonly<Record<string, string | readonly string[]>>;

/** What a script exits with when it said `error=`. */
export const REFUSED = 64;

const PRELUDE = String.raw`
set -u
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
say() { printf '%s=%s\n' "$1" "\${2//$'\n'/\\n}"; }
refuse() { say error "$1"; say hint "$2"; exit ${String(REFUSED)}; }
home=/opt/domherd
state=/var/lib/domherd-agent
units=/etc/systemd/system
command=/usr/local/bin/domherd-agent
[ -r /etc/default/domherd-agent ] && . /etc/default/domherd-agent
options=(\${DOMHERD_AGENT_OPTS:-})
`.replaceAll('\\$', '$');

/** The whole input of `bash -s`, but for what the script itself reads. */
export function scriptText(body: string, values: ScriptValues = {}): string {
  const assignments = Object.entries(values).map(([name, value]) =>
    typeof value === 'string' ? `${name}=${quote(value)}` : `${name}=(${value.map(quote).join(' ')})`,
  );
  // Read as a whole before any of it runs: what comes after the closing line is left to it.
  return `domherd_main() {\n${PRELUDE}${assignments.join('\n')}\n${body}\n}\ndomherd_main; exit $?\n`;
}

/**
 * Everything that is to be known before anything is changed. Values: `dials`, words `session=HOST PORT` and `join=HOST PORT`
 * as "KIND HOST PORT".
 */
export const PROBE = String.raw`
free_kib() { local at=$1; while [ ! -d "$at" ]; do at=$(dirname "$at"); done; df -Pk "$at" | awk 'NR == 2 { print $4 }'; }
say uid "$(id -u)"
say arch "$(uname -m)"
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{ print $2 }')"
say node_name "$(uname -n)"
say now "$(date +%s)"
say xl "$(command -v xl)"
if [ -r /proc/xen/capabilities ] && grep -q control_d /proc/xen/capabilities; then say xen dom0
elif [ -d /proc/xen ] || [ "$(cat /sys/hypervisor/type 2>/dev/null)" = xen ]; then say xen other
else say xen none; fi
[ -d /run/systemd/system ] && say systemd yes
if grep -Eqs '^[^#]*--log[= ]' /etc/default/xen /etc/default/xencommons || grep -Eqs '^ *XENCONSOLED_TRACE=' /etc/default/xencommons; then say console_log on
elif [ -f /etc/default/xen ] || [ -f /etc/default/xencommons ]; then say console_log off; fi
say missing "$(for one in tar gzip systemctl timeout cmp getent; do command -v $one >/dev/null || printf '%s ' $one; done)"
say opt_free_kib "$(free_kib $home)"
say var_free_kib "$(free_kib $state)"
say agent_options "\${DOMHERD_AGENT_OPTS:-}"
say current "$(readlink $home/current 2>/dev/null)"
for manifest in $home/*/manifest.json; do
  [ -f "$manifest" ] || continue
  folder=$(dirname "$manifest")
  [ -L "$folder" ] && continue
  say version "$(basename "$folder") $(sed -n 's/.*"nodeSha256": "\([0-9a-f]*\)".*/\1/p' "$manifest")"
done
differ=
for unit in $(cd $home/current/systemd 2>/dev/null && find . -type f); do cmp -s "$home/current/systemd/$unit" "$units/$unit" || differ=yes; done
say units_differ "$differ"
say active "$(systemctl is-active domherd-agent.service 2>/dev/null)"
say enabled "$(systemctl is-enabled domherd-agent.service 2>/dev/null)"
pid=$(systemctl show -p MainPID domherd-agent.service 2>/dev/null | sed -n 's/^MainPID=//p')
[ "\${pid:-0}" -gt 0 ] && say running "$(tr '\0' '\n' 2>/dev/null </proc/$pid/cmdline | sed -n 's,^/opt/domherd/\([^/]*\)/domherd-agent.mjs$,\1,p')"
if [ -r $state/identity/meta.json ]; then
  say identity_host "$(sed -n 's/.*"host": "\([^"]*\)".*/\1/p' $state/identity/meta.json)"
  say identity_deployment "$(sed -n 's/.*"deploymentId": "\([^"]*\)".*/\1/p' $state/identity/meta.json)"
fi
for dial in "\${dials[@]}"; do
  set -- $dial
  # Apart from the connection: a name server that is silent is no firewall.
  if ! timeout 4 getent ahosts "$2" >/dev/null 2>&1; then outcome=unknown-name
  else
    case $(timeout 4 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$2" "$3" 2>&1; echo "exit $?") in
      *'exit 0') outcome=open ;;
      *'exit 124') outcome=timeout ;;
      *refused*) outcome=refused ;;
      *) outcome=unreachable ;;
    esac
  fi
  say dial "$1 $2 $3 $outcome"
done
say probe end
`.replaceAll('\\$', '$');

/**
 * Unpacks the archive that follows on the input. Values: `version`, `node_from` (a version with the same Node whose binary is
 * shared; empty: the archive brings one).
 */
export const UNPACK = String.raw`
mkdir -p $home || refuse "$home cannot be made" "is /opt read-only?"
fresh=$(mktemp -d "$home/.new.XXXXXX") || refuse "nothing can be made in $home" "is /opt read-only or full?"
trap 'rm -rf "$fresh"' EXIT
chmod 755 "$fresh"
said=$(tar -xzif - --no-same-owner -C "$fresh" 2>&1) || refuse "the agent could not be unpacked: $said" "is there room in /opt? df -h /opt"
[ -n "$node_from" ] && { ln "$home/$node_from/bin/node" "$fresh/bin/node" || cp "$home/$node_from/bin/node" "$fresh/bin/node"; }
said=$("$fresh/bin/node" --version 2>&1) || refuse "Node does not start here: $said" "the dom0 lacks what Node needs (libstdc++6, libatomic): ldd tells; install it there"
sync -f "$home"
rm -rf "$home/$version"
mv -T "$fresh" "$home/$version" || refuse "$home/$version cannot be made" "look at $home on the dom0"
`.replaceAll('\\$', '$');

/** Makes `version` the present one, with its units. Versions other than it and the one before are removed. Values: `version`. */
export const ACTIVATE = String.raw`
# This boot is past xendomains: the gate that comes with the units stays open until the next one.
mkdir -p /run/domherd-boot && touch /run/domherd-boot/done
before=$(readlink $home/current 2>/dev/null)
if [ "$before" != "$version" ]; then
  ln -s "$version" "$home/.current.$$" && mv -T "$home/.current.$$" $home/current || refuse "$home/current cannot be set" "look at $home on the dom0"
fi
for unit in $(cd $home/current/systemd && find . -type f | sed 's,^\./,,'); do
  cmp -s "$home/current/systemd/$unit" "$units/$unit" && continue
  mkdir -p "$units/$(dirname "$unit")"
  cp "$home/current/systemd/$unit" "$units/$unit.domherd" && mv "$units/$unit.domherd" "$units/$unit" || refuse "$units/$unit cannot be written" "is /etc read-only or full?"
done
[ -e $command ] || [ -L $command ] || ln -s $home/current/bin/domherd-agent $command
for folder in $home/*/ $home/.new.* ; do
  folder=\${folder%/}
  [ -d "$folder" ] && [ ! -L "$folder" ] || continue
  case $(basename "$folder") in "$version"|"\${before:-$version}") ;; *) rm -rf "$folder" ;; esac
done
systemctl daemon-reload || refuse "systemctl daemon-reload failed" "on the dom0: systemctl daemon-reload"
`.replaceAll('\\$', '$');

/**
 * Has xenconsoled keep what consoles say, from the next boot on: it is not restarted under running domUs. Debian's init script
 * reads XENCONSOLED_ARGS of /etc/default/xen and no XENCONSOLED_TRACE; Xen's own units read the latter, as systemd does.
 */
export const CONSOLE_LOG = String.raw`
file=/etc/default/xen line='XENCONSOLED_ARGS="\${XENCONSOLED_ARGS:-} --log=guest"'
[ -f $file ] || { file=/etc/default/xencommons; line=XENCONSOLED_TRACE=guest; }
cp -p $file $file.domherd && { [ -z "$(tail -c 1 $file)" ] || echo; echo '# BEGIN domherd: the consoles of domUs are kept in /var/log/xen/console'; echo "$line"; echo '# END domherd'; } >>$file.domherd &&
  mv $file.domherd $file || refuse "$file cannot be written" "is /etc read-only or full?"
mkdir -p /var/log/xen/console
`.replaceAll('\\$', '$');

/** Takes the token that follows on the input. Values: `host`. */
export const JOIN = String.raw`
said=$($home/current/bin/domherd-agent join --host "$host" "\${options[@]}" 2>&1) || refuse "$said" "see why on the dom0: journalctl -u domherd-agent"
`.replaceAll('\\$', '$');

/** Starts the agent, anew where it runs. */
export const START = String.raw`
for unit in $(cd $home/current/systemd && find . -maxdepth 1 -name 'domherd-*.service' | sed 's,^\./,,'); do
  said=$(systemctl enable "$unit" 2>&1) || refuse "systemctl enable $unit failed: $said" "on the dom0: systemctl status $unit"
done
systemctl reset-failed domherd-agent.service 2>/dev/null
said=$(systemctl restart domherd-agent.service 2>&1) || refuse "the agent does not start: $said" "on the dom0: journalctl -u domherd-agent -n 50"
`.replaceAll('\\$', '$');

/** Why an agent that was started is not seen by the controller. */
export const EXPLAIN = String.raw`
say active "$(systemctl is-active domherd-agent.service 2>/dev/null)"
say log "$(journalctl -u domherd-agent.service -n 3 --no-pager -o cat 2>/dev/null | tr '\n' ' ')"
`;

/** Puts back what the boot step held. It is the first part of a removal: it can fail, and then nothing is gone. */
export const RELEASE = String.raw`
[ "$(id -u)" = 0 ] || refuse "the user is not root and may not become it by sudo" "use --user root"
$home/current/bin/domherd-agent --help 2>/dev/null | grep -q '^ *release' || return 0
said=$($home/current/bin/domherd-agent release 2>&1) || refuse "what was held back at boot could not be put back: $said" "on the dom0: domherd-agent release"
`;

/** Takes away everything that was installed. domUs are left alone. Call {@link RELEASE} before. */
export const REMOVE = String.raw`
held=/var/lib/domherd
installed="$(cd $home/current/systemd 2>/dev/null && find . -type f | sed 's,^\./,,') domherd-agent.service domherd-boot.service xendomains.service.d/domherd.conf"
systemctl disable --now domherd-agent.service domherd-boot.service >/dev/null 2>&1
for unit in $installed; do
  rm -f "$units/$unit" "$units/$unit.domherd"
  rmdir "$units/$(dirname "$unit")" 2>/dev/null
done
systemctl daemon-reload
systemctl reset-failed domherd-agent.service domherd-boot.service 2>/dev/null
[ "$(readlink $command)" = $home/current/bin/domherd-agent ] && rm -f $command
for file in /etc/default/xen /etc/default/xencommons; do
  rm -f $file.domherd
  grep -qs '^# BEGIN domherd' $file && grep -q '^# END domherd$' $file && sed -i '/^# BEGIN domherd/,/^# END domherd$/d' $file
done
rmdir /var/log/xen/console 2>/dev/null
rm -rf $home $state /run/domherd-boot || refuse "$home and $state cannot be removed" "look at them on the dom0"
rmdir $held/held $held 2>/dev/null
[ ! -e $held ] || say left "$held"
`;
