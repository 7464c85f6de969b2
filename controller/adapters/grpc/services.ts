import { AgentServiceService, JoinServiceService } from '../../../shared/gen/domherd/v1/agent.js';
import { ControllerServiceService } from '../../../shared/gen/domherd/v1/controller.js';
import { DiskServiceService } from '../../../shared/gen/domherd/v1/disk.js';
import { EventServiceService } from '../../../shared/gen/domherd/v1/event.js';
import { HostServiceService } from '../../../shared/gen/domherd/v1/host.js';
import { ImageServiceService } from '../../../shared/gen/domherd/v1/image.js';
import { LeaseServiceService } from '../../../shared/gen/domherd/v1/lease.js';
import { MacServiceService } from '../../../shared/gen/domherd/v1/mac.js';
import { ReservationServiceService } from '../../../shared/gen/domherd/v1/reservation.js';
import { VmServiceService } from '../../../shared/gen/domherd/v1/vm.js';
import { HealthService } from '../../../shared/gen/grpc/health/v1/health.js';
import type { Clock } from '../../ports/environment.js';
import type { Timers } from '../../ports/timer.js';
import { BridgeQuery } from '../../services/bridge-query.js';
import type { CertificateService } from '../../services/certificate-service.js';
import type { ConflictService } from '../../services/conflict-service.js';
import type { EventLog } from '../../services/event-log.js';
import type { Fleet } from '../../services/fleet.js';
import type { HostRemover } from '../../services/host-remover.js';
import type { HostQuery } from '../../services/host-service.js';
import type { ImageService } from '../../services/image-service.js';
import type { JoinService } from '../../services/join-service.js';
import type { LeaseService } from '../../services/lease-service.js';
import type { MacService } from '../../services/mac-service.js';
import type { ReservationService } from '../../services/reservation-service.js';
import type { StoreQuery } from '../../services/store-query.js';
import type { TokenService } from '../../services/token-service.js';
import type { TransferHub } from '../../services/transfer-hub.js';
import type { VmAddresser } from '../../services/vm-addresser.js';
import type { VmQuery } from '../../services/vm-query.js';
import type { VmCreator } from '../../services/vm-creator.js';
import type { VmInspector } from '../../services/vm-inspector.js';
import type { VmLabeler } from '../../services/vm-labeler.js';
import type { VmDeleter } from '../../services/vm-deleter.js';
import type { VmMaker } from '../../services/vm-maker.js';
import type { VmMigrator } from '../../services/vm-migrator.js';
import type { VmRenamer } from '../../services/vm-renamer.js';
import type { VmRestorer } from '../../services/vm-restorer.js';
import type { VmService } from '../../services/vm-service.js';
import type { VmStarter } from '../../services/vm-starter.js';
import type { VmChanger } from '../../services/vm-changer.js';
import type { ConsoleHub } from '../../services/console-hub.js';
import type { HostStreams } from '../../services/host-streams.js';
import { conflictHandlers } from './conflict-rpc.js';
import { infoHandlers, type ControllerInfo } from './controller-rpc.js';
import { leaseToWire } from './convert-lease.js';
import { hostConsoleHandlers } from './console-rpc.js';
import { diskHandlers } from './disk-rpc.js';
import { eventHandlers } from './event-rpc.js';
import { healthHandlers } from './health-rpc.js';
import { bridgeHandlers, hostQueryHandlers } from './host-rpc.js';
import { clientCertificateHandlers, hostIdentityHandlers, hostRemovalHandlers, renewHandlers } from './identity-rpc.js';
import { imageHandlers, receiveImageHandlers } from './image-rpc.js';
import { joinHandlers } from './join-rpc.js';
import { leaseHandlers } from './lease-rpc.js';
import type { ServedService } from './listener.js';
import { macHandlers } from './mac-rpc.js';
import { reservationHandlers } from './reservation-rpc.js';
import { sessionHandlers } from './session-rpc.js';
import { transferHandlers } from './transfer-rpc.js';
import { vmHandlers } from './vm-rpc.js';

/** Everything that calls are answered from. */
export interface Answerers {
  readonly reservations: ReservationService;
  readonly leases: LeaseService;
  readonly macs: MacService;
  readonly events: EventLog;
  readonly fleet: Fleet;
  readonly hosts: HostQuery;
  readonly stores: StoreQuery;
  readonly remover: HostRemover;
  readonly conflicts: ConflictService;
  readonly vms: {
    readonly query: VmQuery;
    readonly inspector: VmInspector;
    readonly addresser: VmAddresser;
    readonly starter: VmStarter;
    readonly restorer: VmRestorer;
    readonly maker: VmMaker;
    readonly creator: VmCreator;
    readonly deleter: VmDeleter;
    readonly migrator: VmMigrator;
    readonly renamer: VmRenamer;
    readonly labeler: VmLabeler;
    readonly service: VmService;
    readonly consoles: ConsoleHub;
    readonly changer: VmChanger;
  };
  readonly images: ImageService;
  readonly streams: HostStreams;
  readonly joins: JoinService;
  readonly tokens: TokenService;
  readonly certificates: CertificateService;
  readonly transfers: TransferHub;
  readonly info: () => ControllerInfo;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly heartbeatMs: number;
}

/** What people and programs ask: the local socket, and the mutual-TLS listener for the role admin. */
export function adminServices(answerers: Answerers): readonly ServedService[] {
  const { leases, certificates, fleet, hosts, tokens, vms, images, clock, timers } = answerers;
  const controller = {
    ...infoHandlers(answerers.info, fleet, clock),
    ...conflictHandlers(answerers.conflicts),
    ...clientCertificateHandlers(certificates),
  };
  const host = {
    ...hostQueryHandlers(hosts),
    ...bridgeHandlers(new BridgeQuery({ fleet })),
    ...hostIdentityHandlers({ tokens, certificates, hosts }),
    ...hostRemovalHandlers(answerers.remover),
  };
  const vm = vmHandlers({ ...vms, images, timers, writeLease: ({ lease }) => leaseToWire(lease, leases) });
  return withHealth([
    { definition: ReservationServiceService, handlers: reservationHandlers(answerers.reservations) },
    { definition: LeaseServiceService, handlers: leaseHandlers(leases) },
    { definition: MacServiceService, handlers: macHandlers(answerers.macs) },
    { definition: EventServiceService, handlers: eventHandlers(answerers.events) },
    { definition: HostServiceService, handlers: host },
    { definition: DiskServiceService, handlers: diskHandlers(answerers.stores) },
    { definition: VmServiceService, handlers: vm },
    { definition: ImageServiceService, handlers: imageHandlers(images) },
    { definition: ControllerServiceService, handlers: controller },
  ]);
}

/** The mutual-TLS listener: the same, and what agents ask. */
export function networkServices(answerers: Answerers): readonly ServedService[] {
  const { fleet, clock, timers, heartbeatMs, certificates, transfers, images, streams } = answerers;
  const agent = {
    ...sessionHandlers({ fleet, clock, timers, heartbeatMs }),
    ...renewHandlers(certificates),
    ...transferHandlers(transfers),
    ...receiveImageHandlers(images, fleet),
    ...hostConsoleHandlers(streams, timers),
  };
  return [...adminServices(answerers), { definition: AgentServiceService, handlers: agent }];
}

/** The join listener: nothing else. */
export function joinServices(answerers: Answerers): readonly ServedService[] {
  return [{ definition: JoinServiceService, handlers: joinHandlers(answerers.joins) }];
}

function withHealth(services: readonly ServedService[]): readonly ServedService[] {
  const names = services.map(({ definition }) => serviceName(definition));
  return [...services, { definition: HealthService, handlers: healthHandlers(names) }];
}

/** "domherd.v1.LeaseService" of "/domherd.v1.LeaseService/Acquire". */
function serviceName(definition: ServedService['definition']): string {
  return Object.values(definition)[0]?.path.split('/')[1] ?? '';
}
