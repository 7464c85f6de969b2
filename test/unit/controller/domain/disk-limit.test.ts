import t from 'tap';
import { diskLimit, madeDiskLimit } from '../../../../controller/domain/disk-limit.js';
import type { HostStore } from '../../../../shared/domain/host-store.js';

const MIB = 1024 * 1024;

function store(change: Partial<HostStore> & Pick<HostStore, 'kind' | 'name'>, freeMib: number): HostStore {
  const about = {
    type: 'x',
    sizeBytes: 10_000 * MIB,
    metadataPercent: undefined,
    isRecorded: true,
    recordedReason: '',
  };
  return { ...about, freeBytes: freeMib * MIB, sharesBlocks: false, disks: [], ...change };
}

function disk(vmKey: string, sizeMib: number, usedMib: number): HostStore['disks'][number] {
  return { vmKey, path: `/${vmKey}`, sizeBytes: sizeMib * MIB, usedBytes: usedMib * MIB };
}

t.test('the copies that the stores of a host have room for', (t) => {
  const disks = [disk('domU', 1000, 400), disk('domU', 100, 100), disk('other', 9000, 9000)];
  const root = store({ kind: 'file-system', name: '/', disks }, 2356);
  const group = store({ kind: 'volume-group', name: 'vg0' }, 3000);
  const pool = store({ kind: 'thin-pool', name: 'vg0/pool', sharesBlocks: true }, 1500);
  const fits = (stores: readonly HostStore[], shape: Parameters<typeof diskLimit>[2] = {}) =>
    diskLimit(stores, 'domU', shape)?.fits;
  t.strictSame(diskLimit([root], 'domU', {}), {
    kind: 'disk',
    fits: 4,
    detail: '2100 MiB free for disks in /, 500 each',
  });
  t.equal(fits([{ ...root, sharesBlocks: true }]), 16, 'what shares blocks needs little');
  t.equal(fits([{ ...root, sharesBlocks: true }], { storage: 'copy' }), 4);
  t.equal(fits([root], { storage: 'qcow2' }), 16);
  t.equal(fits([root], { swapMib: 100, extraDisksMib: [50, 50] }), 3);
  t.equal(fits([root, group, pool], { storage: 'lvm-snapshot' }), 2);
  t.equal(fits([root, group, pool], { storage: 'lvm-thin' }), 2, 'each disk begins with something');
  const onGroup = store({ kind: 'volume-group', name: 'vg0', disks: [disk('domU', 1000, 1000)] }, 3000);
  t.equal(fits([onGroup]), 2, 'a snapshot keeps a table, too');
  t.equal(fits([onGroup], { storage: 'copy' }), 3);
  t.equal(fits([onGroup], { diskMib: 1500 }), 2, 'a volume takes all that it grows to');
  t.equal(fits([root], { diskMib: 9000 }), 4, 'a file gets holes');
  const inPool = store({ kind: 'thin-pool', name: 'vg0/pool', disks: [disk('domU', 1000, 10)] }, 640);
  t.equal(fits([group, inPool]), 10);
  t.equal(fits([group, inPool], { storage: 'copy' }), 3, 'a volume of its own, outside the pool');
  t.equal(fits([{ ...root, freeBytes: 0 }]), 0);
  t.equal(diskLimit([root], 'none', {}), undefined, 'nothing is known of its disks');
  t.end();
});

t.test('the VMs of images that the stores of a host have room for', (t) => {
  const root = store({ kind: 'file-system', name: '/' }, 1256);
  const opt = store({ kind: 'file-system', name: '/opt' }, 756);
  const group = store({ kind: 'volume-group', name: 'vg0', disks: [disk('a', 1, 1), disk('b', 1, 1)] }, 9000);
  const fits = (stores: readonly HostStore[], shape: Parameters<typeof madeDiskLimit>[1] = {}) =>
    madeDiskLimit(stores, shape, 100 * MIB)?.fits;
  t.strictSame(madeDiskLimit([root, group], {}, 100 * MIB), {
    kind: 'disk',
    fits: 10,
    detail: '1000 MiB free for disks in /, 100 each',
  });
  t.equal(fits([root, opt, group]), 5, 'where the default folder is');
  t.equal(fits([{ ...root, disks: [disk('c', 1, 1)] }, opt]), 10, 'where the VMs of the host have their disks');
  t.equal(fits([root], { swapMib: 60, extraDisksMib: [40] }), 5);
  t.equal(fits([root], { diskMib: 5000 }), 10, 'what it grows by is a hole');
  const pool = store({ kind: 'thin-pool', name: 'vg0/pool' }, 700);
  t.equal(
    fits([root, group, pool], { storage: 'lvm-thin', swapMib: 500 }),
    4,
    'in the pool, where what is empty is small',
  );
  t.equal(fits([root, group], { storage: 'lvm-thin' }), undefined, 'its agent says that there is none');
  t.equal(fits([root], { storage: 'qcow2' }), 10);
  t.equal(fits([group]), undefined, 'nothing is known of where they would be');
  const tmp = store({ kind: 'file-system', name: '/tmp' }, 1456);
  const small = { ...root, freeBytes: 300 * MIB };
  const sent = (stores: readonly HostStore[], shape = {}) => madeDiskLimit(stores, shape, 100 * MIB, '/tmp')?.fits;
  t.equal(fits([small, tmp]), 0);
  t.equal(sent([small, tmp]), 12, 'what comes from another host goes where it was there');
  t.equal(sent([{ ...small, disks: [disk('c', 1, 1)] }, tmp]), 12);
  t.equal(sent([small]), undefined, 'of which nothing is known here');
  t.equal(sent([small, tmp, pool], { storage: 'lvm-thin' }), 4, 'but what is to be in a pool');
  t.equal(fits([{ ...root, name: '/opt/xen/dom' }]), undefined, 'a folder beside');
  t.end();
});
