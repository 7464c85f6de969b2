import { createServer, type Server, type Socket } from 'node:net';

const TYPE = { directory: 1, read: 2, watch: 4, unwatch: 5, watchEvent: 15, error: 16, directoryPart: 20 } as const;
const MAX_PAYLOAD = 4096;

interface Client {
  readonly socket: Socket;
  readonly watches: Set<string>;
  rest: Buffer;
}

/** A small xenstored: the real wire protocol over a real Unix socket, its tree in memory. */
export class FakeXenstored {
  readonly #tree = new Map<string, string>();
  readonly #clients = new Set<Client>();
  #server: Server | undefined;
  /** Takes requests and never answers, as one that hangs. */
  isDeaf = false;
  /** Sends answers in pieces of this many bytes. */
  pieceBytes = 1_000_000;
  /** Connections so far. */
  connections = 0;
  requests = 0;

  async listen(path: string): Promise<void> {
    this.#server = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve) => this.#server?.listen(path, resolve));
  }

  /** As a restart does: all connections are cut, the tree stays. */
  async close(): Promise<void> {
    for (const { socket } of this.#clients) socket.destroy();
    const server = this.#server;
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
    this.#server = undefined;
  }

  get watches(): readonly string[] {
    return [...this.#clients].flatMap(({ watches }) => [...watches]).sort();
  }

  /** Writes as a toolstack does, and tells those who watch. */
  write(path: string, value: string): void {
    this.#tree.set(path, value);
    this.fire(path);
  }

  remove(path: string): void {
    for (const known of [...this.#tree.keys()]) {
      if (known === path || known.startsWith(`${path}/`)) this.#tree.delete(known);
    }
    this.fire(path);
  }

  /** Tells of a change: also of "@introduceDomain" and the like. */
  fire(path: string): void {
    for (const client of this.#clients) {
      for (const watched of client.watches) {
        if (path === watched || path.startsWith(`${watched}/`)) event(client, path, watched);
      }
    }
  }

  #accept(socket: Socket): void {
    this.connections += 1;
    const client: Client = { socket, watches: new Set(), rest: Buffer.alloc(0) };
    this.#clients.add(client);
    socket.on('close', () => this.#clients.delete(client));
    socket.on('error', () => undefined);
    socket.on('data', (piece) => {
      client.rest = Buffer.concat([client.rest, piece]);
      while (client.rest.length >= 16 && client.rest.length >= 16 + client.rest.readUInt32LE(12)) {
        const end = 16 + client.rest.readUInt32LE(12);
        const [type, id] = [client.rest.readUInt32LE(0), client.rest.readUInt32LE(4)];
        const payload = client.rest.toString('latin1', 16, end);
        client.rest = client.rest.subarray(end);
        this.requests += 1;
        if (!this.isDeaf) this.#answer(client, type, id, payload.split('\0'));
      }
    });
  }

  #answer(client: Client, type: number, id: number, [path = '', second = '']: string[]): void {
    const answer = (text: string): void => this.#send(client, type, id, text);
    const fail = (errno: string): void => this.#send(client, TYPE.error, id, `${errno}\0`);
    switch (type) {
      case TYPE.read: {
        const value = this.#tree.get(path);
        return value === undefined ? fail('ENOENT') : answer(value);
      }
      case TYPE.directory: {
        const names = this.#namesBelow(path);
        if (names === undefined) return fail('ENOENT');
        return names.length > MAX_PAYLOAD ? fail('E2BIG') : answer(names);
      }
      case TYPE.directoryPart:
        return answer(this.#part(path, Number(second)));
      case TYPE.watch:
        if (client.watches.has(path)) return fail('EEXIST');
        client.watches.add(path);
        answer('OK\0');
        return event(client, path, path);
      case TYPE.unwatch:
        return client.watches.delete(path) ? answer('OK\0') : fail('ENOENT');
      default:
        return fail('ENOSYS');
    }
  }

  #part(path: string, offset: number): string {
    const names = this.#namesBelow(path) ?? '';
    const room = MAX_PAYLOAD - 3;
    if (names.length - offset <= room) return `7\0${names.slice(offset)}\0`;
    return `7\0${names.slice(offset, names.lastIndexOf('\0', offset + room) + 1)}`;
  }

  #namesBelow(path: string): string | undefined {
    const below = [...this.#tree.keys()].filter((known) => known.startsWith(`${path}/`));
    if (below.length === 0 && !this.#tree.has(path)) return undefined;
    const names = new Set(below.map((known) => known.slice(path.length + 1).split('/')[0]));
    return [...names].map((name) => `${name}\0`).join('');
  }

  #send({ socket }: Client, type: number, id: number, text: string): void {
    const bytes = packet(type, id, text);
    for (let at = 0; at < bytes.length; at += this.pieceBytes) socket.write(bytes.subarray(at, at + this.pieceBytes));
  }
}

function event({ socket }: Client, path: string, token: string): void {
  socket.write(packet(TYPE.watchEvent, 0, `${path}\0${token}\0`));
}

function packet(type: number, id: number, text: string): Buffer {
  const body = Buffer.from(text, 'latin1');
  const header = Buffer.alloc(16);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(id, 4);
  header.writeUInt32LE(body.length, 12);
  return Buffer.concat([header, body]);
}
