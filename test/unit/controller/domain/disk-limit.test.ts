import t from 'tap';
import { diskLimit } from '../../../../controller/domain/disk-limit.js';
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
  t.equal(fits([root, group, pool], { storage: 'lvm-thin' }), 3);
  const onGroup = store({ kind: 'volume-group', name: 'vg0', disks: [disk('domU', 1000, 1000)] }, 3000);
  t.equal(fits([onGroup]), 3);
  const inPool = store({ kind: 'thin-pool', name: 'vg0/pool', disks: [disk('domU', 1000, 10)] }, 640);
  t.equal(fits([group, inPool]), 10);
  t.equal(fits([group, inPool], { storage: 'copy' }), 3, 'a volume of its own, outside the pool');
  t.equal(fits([{ ...root, freeBytes: 0 }]), 0);
  t.equal(diskLimit([root], 'none', {}), undefined, 'nothing is known of its disks');
  t.end();
});
