export {
  aes128Ctr,
  constantTimeEqual,
  digest,
  ecdhP384,
  generateP384,
  hmacSha256,
  isOnP384,
  signP384,
  systemRandom,
  verifyP384,
  verifyRsaPss,
} from '#crypto';
export type {
  EcdsaSignature,
  HashName,
  KeyBytes,
  P384PrivateKey,
  P384PublicKey,
  RandomSource,
  RsaPublicKey,
} from './types.js';
