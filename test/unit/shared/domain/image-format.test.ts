import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import {
  IMAGE_HEAD_BYTES,
  imageContent,
  imageFormat,
  refuseLinkedQcow2,
} from '../../../../shared/domain/image-format.js';
import { parseSha256 } from '../../../../shared/domain/sha256.js';

function headOf(path: string): Buffer {
  const file = openSync(path, 'r');
  const head = Buffer.alloc(IMAGE_HEAD_BYTES);
  const bytes = readSync(file, head, 0, head.length, 0);
  closeSync(file);
  return head.subarray(0, bytes);
}

/** Bytes with marks at their places. */
function withMarks(...marks: readonly (readonly [at: number, bytes: string])[]): Buffer {
  const head = Buffer.alloc(IMAGE_HEAD_BYTES);
  for (const [at, bytes] of marks) head.write(bytes, at, 'latin1');
  return head;
}

const run = (...[program = '', ...args]: readonly string[]): Buffer => execFileSync(program, args, { stdio: 'pipe' });

t.test('images that the real programs make', (t) => {
  const folder = t.testdir();
  const at = (name: string): string => join(folder, name);
  const blank = (name: string, bytes: number): string => {
    writeFileSync(at(name), '');
    truncateSync(at(name), bytes);
    return at(name);
  };
  const root = blank('root.img', 8 * 1024 * 1024);
  run('mke2fs', '-q', '-F', '-t', 'ext4', root);
  t.strictSame([imageFormat(headOf(root)), imageContent(headOf(root))], ['raw', { kind: 'file system', type: 'ext' }]);

  const disk = blank('disk.img', 8 * 1024 * 1024);
  for (const label of ['dos', 'gpt']) {
    execFileSync('sfdisk', ['-q', '--wipe', 'always', '--label', label, disk], { input: '2048,4096\n', stdio: 'pipe' });
    t.strictSame([imageFormat(headOf(disk)), imageContent(headOf(disk))], ['raw', { kind: 'disk' }], label);
  }
  run('zstd', '-q', '-f', root, '-o', at('root.zst'));
  t.equal(imageFormat(headOf(at('root.zst'))), 'zstd');
  t.equal(imageFormat(gzipSync('anything')), 'gzip');

  run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', root, at('root.qcow2'));
  t.equal(imageFormat(headOf(at('root.qcow2'))), 'qcow2');
  refuseLinkedQcow2(headOf(at('root.qcow2')));
  run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', '/etc/shadow', '-F', 'raw', at('linked.qcow2'));
  t.throws(() => refuseLinkedQcow2(headOf(at('linked.qcow2'))), { code: 'invalid', message: /backing file/ });
  run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `data_file=${at('data')}`, at('split.qcow2'), '1M');
  t.throws(() => refuseLinkedQcow2(headOf(at('split.qcow2'))), { code: 'invalid', message: /data file/ });

  run('tar', '-cf', at('files.tar'), '-C', '/etc', 'hostname');
  t.throws(() => imageFormat(headOf(at('files.tar'))), { code: 'invalid', details: { hint: /mke2fs/ } });
  const swap = blank('swap.img', 1024 * 1024);
  run('mkswap', swap);
  t.throws(() => imageFormat(headOf(swap)), { code: 'invalid', message: /swap space/ });
  run('qemu-img', 'convert', '-f', 'raw', '-O', 'vmdk', root, at('root.vmdk'));
  t.throws(() => imageFormat(headOf(at('root.vmdk'))), { code: 'invalid', message: /VMDK/ });
  t.end();
});

t.test('what is no image for a domU', (t) => {
  for (const [head, says] of [
    [withMarks([0, '\xfd7zXZ\0']), /packed with xz/],
    [withMarks([0, 'BZh9']), /packed with bzip2/],
    [withMarks([0, 'PK\x03\x04']), /ZIP archive/],
    [withMarks([0, 'LUKS\xba\xbe']), /encrypted/],
  ] as const) {
    t.throws(() => imageFormat(head), { code: 'invalid', message: says, details: { hint: /\w/ } });
  }
  const hybrid = withMarks([0x8001, 'CD001'], [446, '\x80\0\0\0\x17\0\0\0\x01\0\0\0\x01'], [510, '\x55\xaa']);
  for (const [head, says] of [
    [Buffer.alloc(IMAGE_HEAD_BYTES), /is empty/],
    [Buffer.from('hello'), /neither a file system nor a disk/],
    [hybrid, /is a CD/],
    [withMarks([3, 'NTFS    '], [510, '\x55\xaa']), /neither/],
    [withMarks([446, '\x12'], [450, '\x07'], [454, '\x01'], [458, '\x01'], [510, '\x55\xaa']), /neither/],
  ] as const) {
    t.equal(imageFormat(head), 'raw');
    t.throws(() => imageContent(head), { code: 'invalid', message: says });
  }
  t.throws(() => refuseLinkedQcow2(Buffer.from('QFI\xfb', 'latin1')), { message: /damaged/ });
  t.throws(() => refuseLinkedQcow2(withMarks([0, 'QFI\xfb'], [4, '\0\0\0\x09'])), { message: /version 9/ });
  t.strictSame(imageContent(withMarks([0, 'XFSB'])), { kind: 'file system', type: 'xfs' });
  t.strictSame(imageContent(withMarks([0x10040, '_BHRfS_M'])), { kind: 'file system', type: 'btrfs' });
  t.throws(() => parseSha256('12'), { code: 'invalid', details: { hint: /sha256sum/ } });
  t.end();
});
