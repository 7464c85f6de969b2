/** `none` is a caller without a certificate; operator, user and metrics are for later and may call nothing yet. */
export const ROLES = ['admin', 'operator', 'user', 'agent', 'metrics', 'none'] as const;
export type Role = (typeof ROLES)[number];

const ADMIN: readonly Role[] = ['admin'];
const AGENT: readonly Role[] = ['agent'];
const ANYONE: readonly Role[] = ROLES;

/** Who may call what, by gRPC method path. What is not here, nobody may call; a test walks every generated service. */
export const METHOD_ROLES: Readonly<Record<string, readonly Role[]>> = {
  '/domherd.v1.AgentService/Receive': AGENT,
  '/domherd.v1.AgentService/ReceiveImage': AGENT,
  '/domherd.v1.AgentService/Console': AGENT,
  '/domherd.v1.AgentService/Renew': AGENT,
  '/domherd.v1.AgentService/Send': AGENT,
  '/domherd.v1.AgentService/Session': AGENT,
  '/domherd.v1.ControllerService/GetInfo': ADMIN,
  '/domherd.v1.ControllerService/IssueCertificate': ADMIN,
  '/domherd.v1.ControllerService/ListConflicts': ADMIN,
  '/domherd.v1.ControllerService/RevokeCertificate': ADMIN,
  '/domherd.v1.DiskService/ListStores': ADMIN,
  '/domherd.v1.EventService/List': ADMIN,
  '/domherd.v1.EventService/Watch': ADMIN,
  '/domherd.v1.HostService/CreateToken': ADMIN,
  '/domherd.v1.HostService/Get': ADMIN,
  '/domherd.v1.HostService/List': ADMIN,
  '/domherd.v1.HostService/ListBridges': ADMIN,
  '/domherd.v1.HostService/Remove': ADMIN,
  '/domherd.v1.HostService/Revoke': ADMIN,
  '/domherd.v1.ImageService/Delete': ADMIN,
  '/domherd.v1.ImageService/Fetch': ADMIN,
  '/domherd.v1.ImageService/List': ADMIN,
  '/domherd.v1.ImageService/Put': ADMIN,
  // The token, or the expired certificate, in the request is what lets one in.
  '/domherd.v1.JoinService/Join': ANYONE,
  '/domherd.v1.LeaseService/Acquire': ADMIN,
  '/domherd.v1.LeaseService/Bind': ADMIN,
  '/domherd.v1.LeaseService/Decline': ADMIN,
  '/domherd.v1.LeaseService/Extend': ADMIN,
  '/domherd.v1.LeaseService/History': ADMIN,
  '/domherd.v1.LeaseService/List': ADMIN,
  '/domherd.v1.LeaseService/Next': ADMIN,
  '/domherd.v1.LeaseService/Release': ADMIN,
  '/domherd.v1.LeaseService/Watch': ADMIN,
  '/domherd.v1.MacService/Claim': ADMIN,
  '/domherd.v1.MacService/List': ADMIN,
  '/domherd.v1.MacService/Release': ADMIN,
  '/domherd.v1.ReservationService/Delete': ADMIN,
  '/domherd.v1.ReservationService/Extend': ADMIN,
  '/domherd.v1.ReservationService/Get': ADMIN,
  '/domherd.v1.ReservationService/Import': ADMIN,
  '/domherd.v1.ReservationService/List': ADMIN,
  '/domherd.v1.VmService/Address': ADMIN,
  '/domherd.v1.VmService/CancelCreate': ADMIN,
  '/domherd.v1.VmService/Console': ADMIN,
  '/domherd.v1.VmService/Create': ADMIN,
  '/domherd.v1.VmService/Delete': ADMIN,
  '/domherd.v1.VmService/Destroy': ADMIN,
  '/domherd.v1.VmService/Get': ADMIN,
  '/domherd.v1.VmService/List': ADMIN,
  '/domherd.v1.VmService/Migrate': ADMIN,
  '/domherd.v1.VmService/Pause': ADMIN,
  '/domherd.v1.VmService/Plan': ADMIN,
  '/domherd.v1.VmService/ReadConsoleLog': ADMIN,
  '/domherd.v1.VmService/Reboot': ADMIN,
  '/domherd.v1.VmService/Restart': ADMIN,
  '/domherd.v1.VmService/RestoreFiles': ADMIN,
  '/domherd.v1.VmService/Rename': ADMIN,
  '/domherd.v1.VmService/SetLabels': ADMIN,
  '/domherd.v1.VmService/Set': ADMIN,
  '/domherd.v1.VmService/SetAutostart': ADMIN,
  '/domherd.v1.VmService/Shutdown': ADMIN,
  '/domherd.v1.VmService/Start': ADMIN,
  '/domherd.v1.VmService/Unpause': ADMIN,
  '/domherd.v1.VmService/Wait': ADMIN,
  '/grpc.health.v1.Health/Check': ANYONE,
  '/grpc.health.v1.Health/Watch': ANYONE,
};

/** `unauthenticated`: a caller who showed who he is might be allowed. */
export function judgeCall(method: string, role: Role): 'allowed' | 'unauthenticated' | 'forbidden' {
  const allowed = Object.hasOwn(METHOD_ROLES, method) ? METHOD_ROLES[method] : undefined;
  if (allowed?.includes(role)) return 'allowed';
  return role === 'none' ? 'unauthenticated' : 'forbidden';
}
