import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import type { HostBridges } from '../../../shared/domain/bridge.js';

const CHILD = join(import.meta.dirname, 'child.ts');

/** In a network namespace of its own; sysfs shows the one that mounted it. */
async function inNamespace(script: string): Promise<string[]> {
  const node = [process.execPath, ...process.execArgv, CHILD].map((word) => `'${word}'`).join(' ');
  const asRoot = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const text = `mount -t sysfs sysfs /sys; ip link set lo up; bridges() { ${node}; }; ${script}`;
  const argv = [...asRoot, '--net', '--mount', 'sh', '-ec', text];
  const { stdout } = await promisify(execFile)('unshare', argv, { timeout: 60_000 });
  return stdout.trim().split('\n');
}

t.test('what the kernel says of bridges is understood, and left as it was', async (t) => {
  const [before = '', first = '', after = '', second = ''] = await inNamespace(`
    echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
    ip link add xenbr0 type bridge forward_delay 0
    ip link add port0 type veth peer name far0
    ip link set port0 master xenbr0
    ip link set port0 up; ip link set far0 up; ip link set xenbr0 up
    ip addr add 10.180.255.1/14 dev xenbr0
    ip link add bare type bridge
    shown() { ip -o addr show | tr '\\n' ';'; bridge -o link show | tr '\\n' ';'; echo; }
    until [ "$(cat /sys/class/net/xenbr0/operstate)" = up ]; do :; done
    shown
    bridges
    shown
    ip link set port0 nomaster
    ip link del bare
    bridges
  `);
  t.match(before, '10.180.255.1/14');
  t.equal(after, before, "reading changes neither dom0's addresses nor any port");
  t.strictSame((JSON.parse(first) as HostBridges).bridges, [
    { name: 'bare', members: [], uplinks: [], addresses: [], isUp: false },
    { name: 'xenbr0', members: ['port0'], uplinks: [], addresses: ['10.180.255.1/14'], isUp: true },
  ]);
  t.match((JSON.parse(second) as HostBridges).bridges, [{ name: 'xenbr0', members: [] }]);
});
