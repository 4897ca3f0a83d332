export {
  GetResourceService,
  ImagePullService,
  SealedSecretService,
  SecureMountService,
} from './generated/api_pb.js';
export { AttestationAgentService, RuntimeMeasurementResult } from './generated/attestation_agent_pb.js';
export { KeyProviderService } from './generated/keyprovider_pb.js';
