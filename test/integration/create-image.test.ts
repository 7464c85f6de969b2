import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { CreateRequest } from '../../controller/services/vm-creator.js';
import { parseSha256 } from '../../shared/domain/sha256.js';
import { ADMIN, collect, FleetWorld, resultsOf } from '../fakes/fleet-world.js';
import { FleetCli, type Row } from '../harness/fleet-cli.js';

const NEVER = new AbortController().signal;
const SHA256 = parseSha256('ab'.repeat(32));

const WEB: CreateRequest = {
  ...{ name: 'web', count: 6, hosts: [], placement: 'spread', shape: { memoryMib: 256, extraVifs: ['br1'] } },
  ...{ reservation: undefined, bridge: undefined, isDryRun: false, isStarted: false, labels: {}, apart: undefined },
  source: { kind: 'image', sha256: SHA256, sizeBytes: 10, name: 'debian.qcow2', isCloud: undefined },
};

t.test('VMs of an image go to every host, and each NIC has its lease', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(3);
  const all = await collect(world.creator.create(WEB, ADMIN, NEVER));
  t.match(all[0], {
    kind: 'plan',
    steps: [{ vm: 'web-1', action: 'make', detail: 'image debian.qcow2: cfg and disks' }],
  });
  t.strictSame(
    all.filter((each) => each.kind === 'result' && each.code !== undefined),
    [],
  );
  for (const agent of agents) {
    const orders = agent.ran.filter(({ action }) => action.kind === 'make');
    t.equal(orders.length, 2);
    t.match(orders[0]?.action, { uuid: /^[\da-f-]{36}$/, shape: { memoryMib: 256 }, source: WEB.source });
    t.match(orders[0]?.vmKey, /^\/etc\/xen\/web-\d\.cfg$/);
  }
  t.equal(world.allLeases().filter(({ state }) => state === 'bound').length, 12);
  t.match(world.allEvents('vm.created')[0]?.message, /^VM web-\d@dom0-\d was made, of the image debian.qcow2$/);
  t.equal(world.maker.isMakingOf(1, SHA256), false, 'and it is read no more');
});

t.test('a host reads an image while it makes a VM of it; nothing is left of one that fails', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(1);
  let seen: boolean | undefined;
  agents[0]!.behave = (order) => {
    seen = world.maker.isMakingOf(world.fleet.host('dom0-1').host.id, SHA256);
    return { kind: 'failed', code: 'unavailable', message: `no zstd for ${order.vmKey}`, details: {}, vm: undefined };
  };
  const [result] = await resultsOf(world.creator.create({ ...WEB, count: undefined }, ADMIN, NEVER));
  t.match(result, { code: 'unavailable', message: /no zstd for/ });
  t.equal(seen, true);
  t.strictSame(world.allLeases(), []);
});

t.test('hosts that cannot', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  await t.rejects(collect(world.creator.create({ ...WEB, hosts: ['dom0-9'] }, ADMIN, NEVER)), { code: 'not_found' });
  agents[0]!.kill();
  const plan = await collect(world.creator.create({ ...WEB, isDryRun: true }, ADMIN, NEVER));
  t.match(plan[0], { kind: 'plan', warnings: [/^left out: .*dom0-1/], steps: [{ host: 'dom0-2' }] });
  await t.rejects(collect(world.creator.create({ ...WEB, hosts: ['dom0-1'] }, ADMIN, NEVER)), { code: 'unavailable' });
});

t.test('by the command line, over simulated hosts', async (t) => {
  const fleet = new FleetCli();
  t.teardown(() => fleet.fleet.stop());
  await fleet.start(['dom0-1', 'dom0-2'], 1);
  await fleet.ok('reservation import - --name job --ends +4h --gateway 10.183.255.254 --prefix 14', {
    stdin: '10.180.0.0/22\n',
  });
  const folder = t.testdir({ 'user-data': '#cloud-config\npackages: [vim]\n', empty: '', big: 'x'.repeat(1_100_000) });
  const [root, disk] = [join(folder, 'root.img'), join(folder, 'disk.img')];
  for (const file of [root, disk]) {
    writeFileSync(file, '');
    truncateSync(file, 4 * 1024 * 1024);
  }
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', root]);
  execFileSync('sfdisk', ['-q', '--label', 'gpt', disk], { input: '2048,\n', stdio: 'pipe' });

  const plan = await fleet.run(`vm create web --count 4 --image ${root} --dry-run`);
  t.match(plan, {
    exitCode: 0,
    out: /web-1@dom0-\d +make +image root.img: cfg and disks\nweb-1@dom0-\d +size +512 MiB, 1 vcpus/,
  });
  t.strictSame(await fleet.rows('image list'), [], 'a plan sends nothing');

  await fleet.ok(`vm create web --count 4 --image ${root}`);
  t.equal((await fleet.rows('image list')).length, 1);
  await fleet.ok(`vm create cloud --image ${disk} --user-data ${folder}/user-data --memory 64 --on dom0-1`);
  const cfgOf = (name: string): string =>
    readFileSync(join(fleet.fleet.folder, 'dom0-1/sim/xen', `${name}.cfg`), 'utf8');
  const cloud = cfgOf('cloud');
  t.match(cloud, /^kernel += '\/usr\/lib\/grub-xen\/grub-x86_64-xen.bin'$/m);
  t.match(cloud, /vdev=xvda, access=rw, target=\/opt\/xen\/domains\/cloud\/disk.img/);
  t.match(cloud, /vdev=xvdz, access=rw, target=\/opt\/xen\/domains\/cloud\/seed.img/);
  t.match(cloud, /mac=00:16:3e:b4:00:0\d,bridge=xenbr0/i, 'addressed, on the bridge of the host');
  const [web] = (await fleet.rows('vm list')).filter(
    ({ host, name }) => host === 'dom0-1' && /^web/.test(String(name)),
  );
  t.match(cfgOf(String(web?.['name'])), /^kernel += '\/boot\/vmlinuz[^]*^root += '\/dev\/xvda2 ro'$/m);
  await fleet.ok('vm create fresh --count 2 --installer debootstrap --mirror http://mirror.example/debian --disk 4096');
  const freshOn = (await fleet.rows('vm list')).find(({ name }) => name === 'fresh-1');
  t.match(freshOn, { state: 'stopped' });
  const site = '--installer xen-tools --dist jessie --tarball /srv/root.tgz --swap 64 --on dom0-1 --extra-vif xenbr0';
  const { err } = await fleet.run(`vm create site ${site} -o json`);
  t.match(cfgOf('site'), /vdev=xvda2[^]*vdev=xvda1/);
  const leased = (await fleet.rows('lease list')).filter(({ owner }) => String(owner).startsWith('site@'));
  t.match(leased, [
    { owner: 'site@dom0-1', vifIndex: 0, state: 'bound' },
    { owner: 'site@dom0-1', vifIndex: 1, state: 'bound' },
  ]);
  t.match(
    err,
    `simulated, with ${String(leased[0]?.['address'])} on xenbr0`,
    'it is told the lease that it has in the end',
  );
  const macs = leased.map(({ mac }) => String(mac));
  t.match(cfgOf('site'), new RegExp(`mac=${macs.join(',bridge=xenbr0[^]*mac=')}`, 'i'), 'each NIC has its own');
  await fleet.ok(`vm create thin --image ${root} --storage lvm-thin --on dom0-1`);
  t.match(cfgOf('thin'), /vdev=xvda2, access=rw, target=\/dev\/vg0\/thin-xvda2'/);
  await fleet.ok('vm clone thin far --on dom0-2 --storage qcow2');
  await fleet.ok('vm migrate far --to dom0-1 --cold --storage lvm-thin');
  t.match(cfgOf('far'), /format=raw,vdev=xvda2,access=w,target=\/dev\/vg0\/far-xvda2'/);
  await fleet.ok('vm delete fresh-1 fresh-2 site thin far --yes');
  await fleet.ok('vm start cloud');
  await fleet.ok('vm wait cloud --for=running');
  await fleet.ok('vm destroy cloud --yes');
  await fleet.ok('vm delete cloud --yes');
  t.notOk(existsSync(join(fleet.fleet.folder, 'dom0-1/sim/xen/cloud.cfg')));

  // A copy boots by what it is given, on its host and on another one.
  const like = `--kernel /boot/vmlinuz-new --ramdisk /boot/new.img --cmdline quiet`;
  await fleet.ok(`vm create own --like domU@dom0-1 ${like}`);
  t.match(cfgOf('own'), /^kernel += '\/boot\/vmlinuz-new'\nramdisk += '\/boot\/new.img'$/m);
  t.match(cfgOf('own'), /^extra = 'quiet'$/m);
  t.match(await fleet.run(`vm clone domU@dom0-2 own-2 --on dom0-1 --bootloader pvgrub`), {
    ...{ exitCode: 0, err: /boots by pvgrub, as asked for/ },
  });
  t.match(cfgOf('own-2'), /^kernel += '\/usr\/lib\/grub-xen\/grub-x86_64-xen.bin'$/m);
  t.notMatch(cfgOf('own-2'), /^(ramdisk|root) /m, 'which GRUB finds by itself');
  await fleet.ok(`vm create cloud --image ${disk} --user-data ${folder}/user-data --memory 64 --on dom0-1`);
  await fleet.ok(`vm clone cloud cloud-2 --user-data ${folder}/user-data`);
  await fleet.ok(`vm clone cloud cloud-3 --on dom0-2 --user-data ${folder}/user-data`);
  const group = `like: cloud, user-data: user-data, kernel: /boot/vmlinuz-new, cmdline: quiet, on: dom0-1`;
  writeFileSync(join(folder, 'lab.yaml'), `vms:\n  - {name: of-file, ${group}}\n`);
  await fleet.ok(`vm apply -f ${folder}/lab.yaml`);
  t.match(cfgOf('of-file'), /^kernel += '\/boot\/vmlinuz-new'$[^]*^extra = 'quiet'$/m);
  t.match(await fleet.run(`vm apply -f ${folder}/lab.yaml`), { exitCode: 0, err: /everything is as the file says/ });
  await fleet.ok('vm delete own own-2 cloud cloud-2 cloud-3 of-file --yes');

  const install = 'vm create new --installer debootstrap';
  const create = `vm create new --image ${root}`;
  for (const [args, exitCode, err] of [
    ['vm create new', 2, /nothing to make VMs of.*\n.*--image/],
    [`${create} --like domU`, 2, /--like/],
    ['vm create new --like domU --sha256 00', 2, /--sha256 is for VMs of an --image/],
    ['vm create new --like domU --cloud-init', 2, /--cloud-init is for VMs of an --image/],
    ['vm create new --like domU --no-cloud-init', 2, /--cloud-init is for VMs of an --image/],
    [`vm create new --like domU --user-data ${folder}/user-data`, 5, /domU has no seed.*--user-data/],
    [`vm clone domU@dom0-1 new --on dom0-2 --user-data ${folder}/user-data`, 5, /domU has no seed.*--user-data/],
    [`vm clone domU@dom0-1 new --user-data ${folder}/none`, 3, /the user data cannot be read/],
    [`vm clone domU@dom0-1 new --user-data ${folder}/big`, 2, /larger than 1 MiB/],
    ['vm create new --like domU --kernel /boot/missing', 5, /The host has no \/boot\/missing.*ls \/boot/],
    ['vm clone domU@dom0-1 new --kernel /boot/a --ramdisk /boot/missing', 5, /The host has no \/boot\/missing/],
    ['vm clone domU@dom0-1 new --on dom0-2 --kernel /boot/missing', 5, /The host has no \/boot\/missing/],
    ['vm clone domU@dom0-1 new --kernel /boot/a --bootloader pygrub', 2, /--kernel/],
    ['vm clone domU@dom0-1 new --ramdisk /boot/initrd', 2, /--ramdisk goes with --kernel/],
    ['vm clone domU@dom0-1 new --cmdline quiet', 2, /--cmdline goes with --kernel/],
    ['vm clone domU@dom0-1 new --kernel vmlinuz', 2, /no absolute path of the dom0/],
    [`${create} --sha256 zz`, 2, /is no SHA-256/],
    [`${create}-none`, 3, /there is no image/],
    [`${create} --user-data ${folder}/none`, 3, /the user data cannot be read/],
    [`${create} --user-data ${folder}/empty`, 2, /is empty/],
    [`${create} --user-data ${folder}/big`, 2, /larger than 1 MiB/],
    [`${create} --no-cloud-init --user-data ${folder}/user-data`, 2, /--user-data/],
    [`${create} --bootloader lilo`, 2, /pygrub, pvgrub/],
    [`${create} --bootloader pygrub --kernel /boot/vmlinuz`, 2, /--kernel/],
    [`${create} --ramdisk /boot/initrd`, 2, /--ramdisk goes with --kernel/],
    [`${create} --cmdline quiet`, 2, /--cmdline goes with --kernel/],
    [`${create} --kernel vmlinuz`, 2, /no absolute path of the dom0/],
    [`${create} --kernel /boot/missing`, 5, /The host has no \/boot\/missing/],
    [`${create} --on dom0-7`, 3, /dom0-7/],
    [`${create} --extra-vif br9`, 3, /host dom0-1 has no bridge br9/],
    [`${create} --installer debootstrap`, 2, /--installer/],
    [`${create} --dist trixie`, 2, /--dist goes with --installer/],
    [`${create} --mirror http://m.example/debian`, 2, /--mirror goes with --installer/],
    [`${create} --tarball /a.tar`, 2, /--tarball goes with --installer/],
    ['vm create new --like domU --installer debootstrap', 2, /--installer/],
    ['vm create new --installer anaconda', 2, /debootstrap/],
    [`${install} --dist -x`, 2, /"-x" is no name of a distribution/],
    [`${install} --mirror ftp://m.example`, 2, /is no mirror/],
    [`${install} --mirror http://`, 2, /is no mirror/],
    [`${install} --mirror http://m.example/$(id)`, 2, /is no mirror/],
    [`${install} --tarball /a;b.tar`, 2, /no absolute path of the host/],
    [`${install} --tarball a.tar`, 2, /no absolute path of the host/],
    [`${install} --tarball /a.tar --mirror http://m.example`, 2, /--mirror/],
    [`${install} --tarball /missing.tar`, 3, /The host has no \/missing.tar/],
    ['vm create new --installer xen-tools --tarball /missing.tar', 3, /The host has no \/missing.tar/],
    [`${install} --user-data ${folder}/user-data`, 2, /--user-data is for VMs of an --image/],
    [`${create} --storage lvm-snapshot`, 2, /nothing to snapshot: the VM is no copy of another/],
    ['vm clone domU@dom0-1 new --on dom0-2 --storage lvm-snapshot', 2, /nothing to snapshot/],
    [`${install} --sha256 00`, 2, /--sha256 is for VMs of an --image/],
  ] as const) {
    t.match(await fleet.run(args), { exitCode, err }, args);
  }
  t.equal((await fleet.rows('vm list')).length, 6, 'none of it was made');
  const isNew = ({ owner }: Row): boolean => String(owner).startsWith('new');
  t.strictSame((await fleet.rows('lease list')).filter(isNew), [], 'nor is a lease left of it');
});
