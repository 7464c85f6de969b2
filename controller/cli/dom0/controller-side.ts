import { AppError } from '../../../shared/errors.js';
import { ControllerServiceClient, type GetInfoResponse } from '../../../shared/gen/domherd/v1/controller.js';
import {
  HostServiceClient,
  HostState,
  type Host,
  type RemoveHostResponse,
} from '../../../shared/gen/domherd/v1/host.js';
import { callUnary } from '../../../shared/grpc/client.js';
import { withClient } from '../connection.js';
import type { Invocation } from '../invocation.js';
import { CALL } from '../limit.js';
import { tunnelAddress, type TunnelPorts } from './plan.js';

export interface RemoveOptions {
  /** Although VMs with live leases may run. */
  readonly force: boolean;
  /** Only tell. */
  readonly isDryRun: boolean;
}

const POLL_MS = 300;

/** What the controller knows and does while hosts are set up. */
export class ControllerSide {
  readonly info: GetInfoResponse;
  private readonly call: Invocation;
  private readonly hosts: HostServiceClient;
  private readonly askedAtMs: number;

  private constructor(call: Invocation, hosts: HostServiceClient, info: GetInfoResponse) {
    this.call = call;
    this.hosts = hosts;
    this.info = info;
    this.askedAtMs = call.world.nowMs();
  }

  static with<T>(call: Invocation, work: (controller: ControllerSide) => Promise<T>): Promise<T> {
    return withClient(call, HostServiceClient, async (hosts) => {
      const info = await withClient(call, ControllerServiceClient, (client) =>
        callUnary(client.getInfo.bind(client), {}, CALL),
      );
      return work(new ControllerSide(call, hosts, info));
    });
  }

  /** Its clock, seconds since 1970. */
  nowS(): number {
    const { nowMs } = this.call.world;
    return ((this.info.now?.getTime() ?? this.askedAtMs) + nowMs() - this.askedAtMs) / 1_000;
  }

  /** `undefined`: it has not joined. */
  async find(name: string): Promise<Host | undefined> {
    return (await orUndefined(callUnary(this.hosts.get.bind(this.hosts), { name }, CALL)))?.host;
  }

  /** By name. */
  async list(): Promise<readonly Host[]> {
    return (await callUnary(this.hosts.list.bind(this.hosts), {}, CALL)).hosts;
  }

  /** A secret for one join of this host. */
  async token(host: string, tunnel: TunnelPorts | undefined): Promise<string> {
    const request = {
      requestId: this.call.world.newId(),
      host,
      uses: 1,
      ttlSeconds: 0,
      sessionAddresses: tunnel ? [tunnelAddress(tunnel.session)] : [],
      joinAddresses: tunnel ? [tunnelAddress(tunnel.join)] : [],
    };
    return (await callUnary(this.hosts.createToken.bind(this.hosts), request, CALL)).token;
  }

  /**
   * Takes a host out of the fleet.
   *
   * @returns what went with it; `undefined`: it had not joined
   */
  async remove(name: string, options: RemoveOptions): Promise<RemoveHostResponse | undefined> {
    const request = { requestId: this.call.world.newId(), name, force: options.force, dryRun: options.isDryRun };
    return orUndefined(callUnary(this.hosts.remove.bind(this.hosts), request, CALL));
  }

  /**
   * Waits for a session of the host in which it has told what is on it: its VMs are listed from then on.
   *
   * @param isNew whether it is one that counts
   * @returns the host; `undefined`: none came in time
   */
  async waitOnline(name: string, isNew: (host: Host) => boolean, limitMs: number): Promise<Host | undefined> {
    const { nowMs, pause, signal } = this.call.world;
    const endMs = nowMs() + limitMs;
    while (!signal.aborted) {
      const host = await this.find(name);
      const isOnline = host !== undefined && host.state === HostState.ONLINE && host.connectedAt && isNew(host);
      if (isOnline && (await this.hasTold(name))) return host;
      if (nowMs() >= endMs) break;
      await pause(POLL_MS, signal);
    }
    return undefined;
  }

  /** Bridges come with the full state. */
  private async hasTold(name: string): Promise<boolean> {
    const { hosts } = await callUnary(this.hosts.listBridges.bind(this.hosts), { host: name }, CALL);
    return hosts.some(({ known }) => known);
  }
}

async function orUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return undefined;
    throw error;
  }
}
