export { type AuthorityKeys, generateAuthorityKeys } from './authority-keys.js';
export { createKdsClient, type KdsClient, type KdsClientOptions, NotCachedError } from './client.js';
export {
  type DevelopmentAuthority,
  type DevelopmentAuthorityOptions,
  openDevelopmentAuthority,
} from './development-authority.js';
export type { EndorsementSource } from './endorsement-source.js';
export { amdKeyService, askArkPaths, cekPath, type KeyServiceAddresses } from './key-service.js';
export { createMirror, type MirrorOptions } from './mirror.js';
export {
  makePrivateFolder,
  readIfThere,
  requirePrivate,
  writeOnce,
  writePrivately,
} from './private-folder.js';
export { type Fetch, ThrottledError, UnknownToServiceError } from './request.js';
export { QueueFullError } from './request-queue.js';
export {
  type KdsRoutesOptions,
  type KdsServer,
  kdsRoutes,
  type ServeKdsOptions,
  serveKds,
} from './server.js';
export {
  type BundleEntry,
  type ExportedBundle,
  exportBundle,
  type ImportedBundle,
  importEntries,
  readBundle,
  writeBundle,
} from './snp/bundle.js';
export { developmentCspId, type EndorsementAuthority } from './snp/endorsement-authority.js';
export type { EndorsementClient, FetchOptions } from './snp/endorsement-client.js';
export {
  type AuthorityRequest,
  type EndorsementRequest,
  endorsementPath,
  readEndorsementPath,
  requestText,
  type VcekRequest,
  type VlekRequest,
  vcekRequest,
} from './snp/endorsement-request.js';
export { type EndorsedReport, type ReportRequests, requestsForReport } from './snp/report-requests.js';
export { readTrusteeStore } from './snp/trustee-store.js';
