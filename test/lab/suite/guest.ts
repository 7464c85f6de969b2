import { waitFor, type Lab } from '../lab.js';

export const DISK = '/opt/xen/domU/disk.img';
/** A domU of an emulated dom0 is up after 20 to 60 s. */
export const GUEST_MS = 300_000;

/** /etc/network/interfaces as the tutorial has it typed in. */
export function interfacesFile(address: string): string {
  return `auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address ${address}
    netmask 255.252.0.0
    broadcast 10.183.255.255
    gateway 10.183.255.254
`;
}

/** What a person would do to a stopped guest's disk, without domherd. */
export async function addressByHand(lab: Lab, host: string, address: string): Promise<void> {
  await lab.must(host, 'cat > /tmp/interfaces', { input: interfacesFile(address) });
  await lab.must(host, `e2fsck -p ${DISK}`);
  const commands = 'rm /etc/network/interfaces\\nwrite /tmp/interfaces /etc/network/interfaces\\n';
  await lab.must(host, `printf '${commands}' | debugfs -w -f /dev/stdin ${DISK} && e2fsck -fn ${DISK}`);
}

export async function isPinged(lab: Lab, address: string): Promise<boolean> {
  return (await lab.frontend.run(['ping', '-c', '1', '-W', '2', address], { limitMs: 10_000 })).exitCode === 0;
}

/** A command in the guest, over ssh from the frontend. @returns what it printed, or `undefined` when ssh got no answer */
export async function inGuest(lab: Lab, address: string, command: string): Promise<string | undefined> {
  const argv = ['ssh', '-o', 'ConnectTimeout=10', '-o', 'BatchMode=yes', address, command];
  const { exitCode, stdout } = await lab.frontend.run(argv, { limitMs: 60_000 });
  return exitCode === 0 ? stdout : undefined;
}

/** Until the guest answers ssh. @returns its boot id: another one after a reboot */
export function waitForGuest(lab: Lab, address: string): Promise<string> {
  const ask = (): Promise<string | undefined> => inGuest(lab, address, 'cat /proc/sys/kernel/random/boot_id');
  return waitFor(`ssh of ${address}`, ask, GUEST_MS, 1000);
}

export async function domains(lab: Lab, host: string): Promise<readonly string[]> {
  const list = await lab.must(host, 'xl list');
  return list
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/)[0] ?? '')
    .filter((name) => name !== 'Domain-0');
}
