import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DirImageStore } from '../../controller/adapters/image/dir-image-store.js';
import { FetchUrlSource } from '../../controller/adapters/image/fetch-url-source.js';
import type { StoredImage } from '../../controller/ports/image-store.js';
import { ImageService } from '../../controller/services/image-service.js';
import { parseSha256, type Sha256 } from '../../shared/domain/sha256.js';
import { FleetCli } from '../harness/fleet-cli.js';

const NEVER = new AbortController().signal;

function hashOf(bytes: Buffer): Sha256 {
  return parseSha256(createHash('sha256').update(bytes).digest('hex'));
}

async function* pieces(bytes: Buffer, size = 100_000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.subarray(at, at + size);
  }
}

async function collect(data: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const bytes of data) all.push(bytes);
  return Buffer.concat(all);
}

t.test('an image that is sent is kept under its hash', async (t) => {
  const folder = join(t.testdir(), 'images');
  let reader = 0;
  const service = new ImageService({
    ...{ store: new DirImageStore(folder), urls: new FetchUrlSource() },
    mayRead: (hostId) => hostId === reader,
  });
  const bytes = randomBytes(1_000_000);
  const announced = { sha256: hashOf(bytes), sizeBytes: bytes.length };
  const begin = async () => {
    const begun = await service.begin(announced);
    if (!('offset' in begun)) throw new Error('it is there already');
    return begun;
  };

  t.strictSame(await service.list(), []);
  const cut = await begin();
  t.equal(cut.offset, 0);
  await t.rejects(begin(), { code: 'wrong_state', message: /just being sent/ });
  await cut.write(bytes.subarray(0, 300_000));
  await cut.close();
  t.equal(await service.find(announced.sha256), undefined, 'a part is no image');

  const again = await begin();
  t.equal(again.offset, 300_000, 'it goes on where it ended');
  await again.write(Buffer.alloc(1, 7));
  await t.rejects(service.receive(again, 'web.img', pieces(bytes.subarray(300_001))), { code: 'invalid' });
  t.strictSame(readdirSync(folder), [], 'and nothing is left of what was another one');

  const third = await begin();
  await third.write(bytes.subarray(0, 300_000));
  await third.close();
  const last = await begin();
  const kept = await service.receive(last, 'web.img', pieces(bytes.subarray(last.offset)));
  t.match(kept, { sha256: announced.sha256, sizeBytes: 1_000_000, name: 'web.img' });
  t.strictSame(await new DirImageStore(folder).list(), [{ ...kept, origin: undefined }], 'after a restart too');
  t.match(await service.begin(announced), { name: 'web.img' }, 'it is not sent twice');

  t.throws(() => service.read(1, announced.sha256), { code: 'forbidden' });
  reader = 1;
  t.ok((await collect(service.read(1, announced.sha256))).equals(bytes));
  t.throws(() => service.read(2, announced.sha256), { code: 'forbidden' }, 'not for a host without an order');

  const more = await service.begin({ sha256: hashOf(Buffer.from('x')), sizeBytes: 1 });
  if (!('offset' in more)) throw new Error('it is there already');
  await t.rejects(service.receive(more, 'more', pieces(bytes)), { code: 'invalid', message: /more than the 1 bytes/ });
  await more.close();
  const huge = { sha256: hashOf(Buffer.from('huge')), sizeBytes: 2 ** 52 };
  await t.rejects(service.begin(huge), { code: 'exhausted', details: { hint: /image list/ } });
  await t.rejects(service.begin(huge), { code: 'exhausted' }, 'and it is nobody else who sends it');
});

const TAR = Buffer.concat([Buffer.alloc(257), Buffer.from('ustar'), Buffer.alloc(100_000)]);

/** What a web server answers, by path. */
type Answer = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(t: Test, answers: Readonly<Record<string, Answer>>): Promise<string> {
  const server = createServer((request, response) => {
    const answer = answers[request.url ?? ''];
    if (answer) answer(request, response);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

t.test('an image that is fetched', async (t) => {
  const folder = t.testdir();
  const service = new ImageService({
    ...{ store: new DirImageStore(folder), urls: new FetchUrlSource() },
    mayRead: () => false,
  });
  const bytes = randomBytes(40_000_000);
  const asked: (string | undefined)[] = [];
  const base = await serve(t, {
    '/web.img': (request, response) => {
      asked.push(request.headers['if-none-match']);
      if (request.headers['if-none-match'] === '"1"') response.writeHead(304).end();
      else response.writeHead(200, { etag: '"1"', 'content-length': bytes.length }).end(bytes);
    },
    '/moved.img': (_, response) => response.writeHead(302, { location: '/web.img' }).end(),
    '/short.img': (_, response) => {
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, 1000), () => response.destroy());
    },
    '/files.tar': (_, response) => response.writeHead(200).end(TAR),
    '/closed': (_, response) => response.writeHead(403, 'Forbidden').end(),
  });
  const fetched = async (path: string, sha256?: Sha256) => {
    const all = [];
    for await (const each of service.fetch(`${base}${path}`, sha256, NEVER)) all.push(each);
    return all;
  };
  const image = (await fetched('/web.img')).at(-1) as StoredImage;
  t.match(image, { sha256: hashOf(bytes), sizeBytes: bytes.length, name: `${base}/web.img` });
  t.strictSame(await fetched('/web.img'), [image], 'one that did not change is not sent again');
  t.strictSame(asked, [undefined, '"1"']);
  t.strictSame(await fetched('/gone', image.sha256), [image], 'nor one whose hash is known');
  t.match((await fetched('/moved.img'))[0], { receivedBytes: /\d+/, totalBytes: bytes.length });

  const other = hashOf(Buffer.from('another'));
  await t.rejects(fetched('/web.img', other), { code: 'invalid', details: { sha256: image.sha256 } });
  t.match(await service.list(), [{ sha256: image.sha256 }], 'the one that is there stays');
  for (const [path, error] of [
    ['/gone', { code: 'not_found' }],
    ['/closed', { code: 'unavailable', details: { status: '403' } }],
    ['/short.img', { code: 'unavailable' }],
    ['/files.tar', { code: 'invalid', message: /tar archive/ }],
  ] as const) {
    await t.rejects(fetched(path), error, path);
  }
  t.strictSame(readdirSync(folder).sort(), [image.sha256, `${image.sha256}.json`], 'nothing is left of what failed');
  for (const url of ['ftp://host/x', 'http://me:secret@host/x', 'file:///etc/passwd', 'http://']) {
    await t.rejects(service.fetch(url, undefined, NEVER).next(), { code: 'invalid' }, url);
  }
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
  const { port } = closed.address() as AddressInfo;
  await new Promise((resolve) => closed.close(resolve));
  await t.rejects(service.fetch(`http://127.0.0.1:${String(port)}/x`, undefined, NEVER).next(), {
    code: 'unavailable',
    message: /ECONNREFUSED/,
  });
});

t.test('by the command line', async (t) => {
  const fleet = new FleetCli();
  t.teardown(() => fleet.fleet.stop());
  await fleet.fleet.startController();
  const folder = t.testdir({ empty: '', 'files.tar': TAR, 'x.xz': Buffer.from('\xfd7zXZ\0more', 'latin1') });
  const file = join(folder, 'web.img');
  writeFileSync(file, randomBytes(3_000_000));
  const sha256 = hashOf(readFileSync(file));
  const kept = join(fleet.fleet.dataDir, 'images', sha256);

  t.match(JSON.parse(await fleet.ok(`image add ${file} -o json`)), [{ sha256, sizeBytes: 3_000_000, name: 'web.img' }]);
  t.ok(readFileSync(kept).equals(readFileSync(file)));
  t.match(
    await fleet.run(`image add ${file} --sha256 ${sha256.toUpperCase()}`),
    { exitCode: 0, err: '' },
    'not sent again',
  );
  t.match(await fleet.ok('image list'), new RegExp(`^IMAGE +SIZE +NAME\n${sha256.slice(0, 12)} +3 MiB +web.img\n$`));

  for (const [args, exitCode, err] of [
    [`image add ${folder}/none`, 3, /there is no image/],
    [`image add ${folder}`, 2, /is no file/],
    [`image add ${folder}/empty`, 2, /is empty/],
    [`image add ${folder}/files.tar`, 2, /tar archive.*\n.*mke2fs/],
    [`image add ${folder}/x.xz`, 2, /packed with xz.*\n.*unxz/],
    [`image add ${file} --sha256 12`, 2, /is no SHA-256/],
    [`image add ${file} --sha256 ${'0'.repeat(64)}`, 2, /is not what --sha256 says/],
    ['image add ftp://host/x', 2, /no URL to fetch/],
    ['image delete ffffffffffff --yes', 3, /no image ffffffffffff/],
    ['image delete web.img', 2, /--yes/],
  ] as const) {
    t.match(await fleet.run(args), { exitCode, err }, args);
  }
  t.ok(existsSync(kept));
  await fleet.ok('image delete web.img --yes');
  t.notOk(existsSync(kept));
});
