import type { BridgesOfHost } from '../../../shared/gen/domherd/v1/host.js';
import { VmState, type Vif, type Vm } from '../../../shared/gen/domherd/v1/vm.js';
import { quote } from '../dom0/script.js';
import { vmName, vmStateText } from '../view/vm-view.js';

export type Verdict = 'ok' | 'failed' | 'not checked';

/** One thing that was looked at. */
export interface Check {
  readonly name: string;
  readonly verdict: Verdict;
  /** What was seen. */
  readonly note: string;
  /** What to do; empty: nothing. */
  readonly hint: string;
}

/** What the controller knows of a VM: cfg, guest files, leases, bridges. */
export function checkKnown(vm: Vm, bridges: BridgesOfHost | undefined): readonly Check[] {
  const name = vmName(vm);
  const isRunning = vm.state === VmState.RUNNING;
  return [
    check('running', isRunning, `it is ${vmStateText(vm)}`, `domherd vm start ${name}`),
    ...(vm.vifs.length === 0 ? [failed('lease', 'it has no NIC', 'write a vif into its cfg')] : []),
    ...vm.vifs.flatMap((vif) => checkVif(name, vif, bridges)),
  ];
}

function checkVif(
  name: string,
  { index, mac, bridge, guestAddress, lease }: Vif,
  of?: BridgesOfHost,
): readonly Check[] {
  const nic = `NIC ${String(index)}`;
  const again = `domherd vm shutdown ${name} && domherd vm address ${name}`;
  const bridgeCheck = checkBridge(nic, bridge, of);
  if (!lease) return [failed('lease', `${nic} has no lease`, again), bridgeCheck];
  const isSame = mac.toLowerCase() === lease.mac.toLowerCase();
  return [
    check('cfg MAC', isSame, `${nic} has ${mac || 'none'}${isSame ? '' : `, its lease ${lease.mac}`}`, again),
    guestAddress === ''
      ? unknown('guest file', `${nic}: its files could not be read, or say DHCP`)
      : check(
          'guest file',
          guestAddress === lease.address,
          `${nic}: ${guestAddress}${ofLease(guestAddress, lease.address)}`,
          again,
        ),
    bridgeCheck,
  ];
}

function checkBridge(nic: string, bridge: string, of: BridgesOfHost | undefined): Check {
  if (!of?.known) return unknown('bridge', `${nic}: its host has not told its bridges`);
  if (bridge === '') return unknown('bridge', `${nic} names none: Xen takes its default`);
  const found = of.bridges.find((use) => use.bridge?.name === bridge)?.bridge;
  return check(
    'bridge',
    found?.up === true,
    `${nic}: ${bridge}${found ? (found.up ? '' : ' is down') : ' is not there'}`,
    'domherd bridge list',
  );
}

/** Of any POSIX shell, busybox's too. @param resolve a name that has to resolve; empty: that a server answers is enough */
export function insideScript(resolve: string): string {
  return `hostname=$(hostname 2>/dev/null || cat /etc/hostname); echo "hostname=$hostname"
for n in /sys/class/net/*; do i=\${n##*/}
echo "nic=$i $(cat "$n/address" 2>/dev/null) $(ip -o -4 addr show dev "$i" 2>/dev/null | tr -s ' ' | cut -d ' ' -f 4 | tr '\\n' ' ')"; done
gw=$(ip route 2>/dev/null | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p' | head -n 1); echo "gateway=$gw"
if [ -n "$gw" ] && command -v ping >/dev/null; then if ping -c 1 -W 2 "$gw" >/dev/null 2>&1; then echo ping=ok; else echo ping=silent; fi; fi
want=${quote(resolve)}; name=\${want:-$gw}; name=\${name:-localhost}
if ! grep -q '^nameserver' /etc/resolv.conf 2>/dev/null; then echo dns=none
elif [ -n "$want" ] && command -v getent >/dev/null && getent hosts "$want" >/dev/null 2>&1; then echo dns=ok
elif command -v nslookup >/dev/null; then out=$(nslookup "$name" 2>&1); rc=$?; case "$out" in
*'timed out'*|*'no servers'*|*refused*|*'t read'*) echo dns=silent;; *) if [ -z "$want" ] || [ $rc = 0 ]; then echo dns=ok; else echo dns=missing; fi;; esac
elif [ -n "$want" ] && command -v getent >/dev/null; then echo dns=missing
elif command -v getent >/dev/null && getent hosts "$name" >/dev/null 2>&1; then echo dns=ok; fi
`;
}

/** What {@link insideScript} printed, judged. */
export function checkInside(vm: Vm, output: string): readonly Check[] {
  const name = vmName(vm);
  const lines = output.split('\n').map((line) => /^(\w+)=(.*)$/.exec(line) ?? []);
  const value = (key: string): string => lines.find(([, found]) => found === key)?.[2]?.trim() ?? '';
  const nics = lines.flatMap(([, key, text = '']) => (key === 'nic' ? [text.trim().split(/\s+/)] : []));
  return [
    ...vm.vifs.flatMap((vif) => (vif.lease ? [checkAddress(vif, vif.lease, nics, name)] : [])),
    ...checkRoute(value('gateway'), value('ping'), name),
    checkDns(value('dns'), name),
    check(
      'hostname',
      value('hostname').split('.')[0] === vm.name.split('.')[0],
      value('hostname') || 'it has none',
      `domherd vm shutdown ${name} && domherd vm address ${name}`,
    ),
  ];
}

function checkAddress(
  vif: Vif,
  lease: NonNullable<Vif['lease']>,
  nics: readonly (readonly string[])[],
  name: string,
): Check {
  const nic = nics.find(([, mac = '']) => mac.toLowerCase() === lease.mac.toLowerCase());
  const hint = `domherd vm ssh ${name} -- ip address, or shut it down, address it and start it again`;
  if (nic === undefined) return failed('address', `no NIC in the guest has the MAC ${lease.mac}`, hint);
  const [device = '', , ...addresses] = nic;
  const isThere = addresses.some((each) => each.split('/')[0] === lease.address);
  return check(
    'address',
    isThere,
    `${device} has ${addresses.join(', ') || 'none'}${isThere ? '' : `, not ${lease.address}`}`,
    hint,
  );
}

function checkRoute(gateway: string, ping: string, name: string): readonly Check[] {
  if (gateway === '') return [failed('default route', 'there is none', `domherd vm ssh ${name} -- ip route`)];
  const route = check('default route', true, `via ${gateway}`, '');
  if (ping === '') return [route, unknown('gateway', 'the guest has no ping')];
  const seen = ping === 'ok' ? `${gateway} answers` : `${gateway} does not answer ping`;
  return [
    route,
    check(
      'gateway',
      ping === 'ok',
      seen,
      'is it up, does it answer ping, is the bridge the right one: domherd bridge list',
    ),
  ];
}

function checkDns(dns: string, name: string): Check {
  const hint = `domherd vm ssh ${name} -- cat /etc/resolv.conf`;
  const notes: Readonly<Record<string, string>> = {
    none: 'its resolv.conf names no server',
    silent: 'no server answers',
    missing: 'the name does not resolve',
  };
  if (dns === 'ok') return check('DNS', true, 'a server answers', '');
  const note = notes[dns];
  return note === undefined ? unknown('DNS', 'the guest has no program to ask with') : failed('DNS', note, hint);
}

export function check(name: string, isOk: boolean, note: string, hint: string): Check {
  return { name, verdict: isOk ? 'ok' : 'failed', note, hint: isOk ? '' : hint };
}

export function failed(name: string, note: string, hint: string): Check {
  return check(name, false, note, hint);
}

export function unknown(name: string, note: string): Check {
  return { name, verdict: 'not checked', note, hint: '' };
}

function ofLease(has: string, leased: string): string {
  return has === leased ? '' : `, its lease is ${leased}`;
}
