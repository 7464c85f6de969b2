import { AppError } from '../../shared/errors.js';
import { VmServiceClient, type CreateVmsRequest, type VmProgress } from '../../shared/gen/domherd/v1/vm.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import { quote } from './dom0/script.js';
import { INTERRUPTED } from './failure.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { tell } from './output.js';
import { showProgress } from './vm-progress.js';

/**
 * Has VMs made and shows it to the end. Ctrl-C has undone what is not whole, and shows that too; when the connection is lost
 * the controller goes on by itself. Both times the command that continues is told.
 *
 * @param notes for people, told once the request is accepted
 * @param line what continues, without the name of the program; the same with its request id unless told
 * @returns the exit code
 */
export function followCreate(
  call: Invocation,
  request: CreateVmsRequest,
  notes: readonly string[],
  line = continueLine(call),
): Promise<number> {
  return withClient(call, VmServiceClient, (client) => new CreateFollower(call, client, request, notes, line).run());
}

class CreateFollower {
  private readonly call: Invocation;
  private readonly client: VmServiceClient;
  private readonly request: CreateVmsRequest;
  private readonly line: readonly string[];
  private notes: readonly string[];
  /** Ends the stream itself. */
  private readonly leave = new AbortController();
  private hasBegun = false;

  constructor(
    call: Invocation,
    client: VmServiceClient,
    request: CreateVmsRequest,
    notes: readonly string[],
    line: readonly string[],
  ) {
    this.line = line;
    this.notes = notes;
    this.call = call;
    this.client = client;
    this.request = request;
  }

  async run(): Promise<number> {
    const { signal } = this.call.world;
    const interrupt = (): void => void this.undo();
    signal.addEventListener('abort', interrupt);
    try {
      const exitCode = await showProgress(this.call, this.progress(), this.request.dryRun);
      if (!signal.aborted) return exitCode;
      tell(this.call, `to continue: ${commandOf(this.line)}`);
      return INTERRUPTED;
    } catch (error) {
      throw this.hasBegun ? withContinuation(this.line, error) : error;
    } finally {
      signal.removeEventListener('abort', interrupt);
    }
  }

  private async *progress(): AsyncGenerator<VmProgress> {
    const { client, request, call, leave } = this;
    if (call.world.signal.aborted) return;
    for await (const each of callStream(client.create.bind(client), request, { signal: leave.signal })) {
      this.hasBegun = !request.dryRun;
      for (const note of this.notes) tell(call, note);
      this.notes = [];
      yield each;
    }
  }

  private async undo(): Promise<void> {
    const { client, request, call, leave } = this;
    if (!this.hasBegun) return leave.abort();
    tell(call, 'undoing what is not whole; Ctrl-C again leaves that to the controller');
    try {
      await callUnary(client.cancelCreate.bind(client), { createRequestId: request.requestId }, CALL);
    } catch {
      // The stream tells why there is no controller any more.
      leave.abort();
    }
  }
}

/** What goes on with the same request. */
function continueLine({ line, requestId }: Invocation): readonly string[] {
  const isSame = line.includes('--request-id') || line.some((word) => word.startsWith('--request-id='));
  return isSame ? line : [...line, '--request-id', requestId];
}

function commandOf(line: readonly string[]): string {
  return ['domherd', ...line.map((word) => (/^[\w@%+=:,./*-]+$/.test(word) ? word : quote(word)))].join(' ');
}

function withContinuation(line: readonly string[], error: unknown): unknown {
  if (!(error instanceof AppError) || error.code !== 'unavailable') return error;
  const hint = `the VMs are made all the same; to see what came of them: ${commandOf(line)}`;
  return new AppError(error.code, error.message, { ...error.details, hint }, error);
}
