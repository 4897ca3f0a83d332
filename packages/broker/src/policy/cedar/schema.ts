/**
 * What release policies may speak of, as a schema of Cedar. A policy that names anything else does not type-check and is
 * refused when it is set. Members are those of the claims, `SnpClaims` and `PreLaunchClaims`; one with `?` must be asked
 * for with `has` first. The files of init-data are tags: `principal.hasTag("aa.toml")`.
 */
export const releaseSchema = `
type Root = { name: String, kind: String, fingerprint: String };
type Tcb = { fmc?: Long, bootloader: Long, tee: Long, snp: Long, microcode: Long };

entity SnpGuest = {
  root?: Root,
  revocation: { status: String, asOf?: datetime },
  reportVersion: Long,
  measurement: String,
  reportData: String,
  hostData: String,
  familyId: String,
  imageId: String,
  guestSvn: Long,
  vmpl: Long,
  idKeyDigest?: String,
  authorKeyDigest?: String,
  policy: {
    abiMajor: Long,
    abiMinor: Long,
    smt: Bool,
    migrationAgent: Bool,
    debug: Bool,
    singleSocket: Bool,
    cxlAllowed: Bool,
    aes256Xts: Bool,
    raplDisabled: Bool,
    ciphertextHiding: Bool,
    pageSwapDisabled: Bool,
  },
  platform: {
    smtEnabled: Bool,
    tsmeEnabled: Bool,
    eccEnabled: Bool,
    raplDisabled: Bool,
    ciphertextHidingEnabled: Bool,
    aliasCheckComplete: Bool,
    tioEnabled: Bool,
  },
  tcb: { reported: Tcb, committed: Tcb, current: Tcb, launch: Tcb },
  firmware: { current: String, committed: String },
  mitigations?: { launch: Set<Long>, current: Set<Long> },
  signer: { kind: String, authorKeyEnabled: Bool, maskChipKey: Bool, operator?: String },
  productLine?: String,
  processor?: { family: Long, model: Long, stepping: Long },
  chipId?: String,
  reportId: String,
  migrationAgent?: String,
  initData?: { algorithm: String, digest: String },
  guestKey?: String,
  references: Set<String>,
} tags String;

entity PreLaunchGuest = {
  tee: String,
  root?: Root,
  api: { major: Long, minor: Long },
  build: Long,
  launch?: String,
  measurement?: String,
  chipId?: String,
  policy: {
    noDebug: Bool,
    noKeySharing: Bool,
    encryptedState: Bool,
    noSend: Bool,
    domain: Bool,
    sev: Bool,
  },
};

entity Repository;
entity Resource in [Repository] = { repository: String, type: String, tag: String };

action release appliesTo {
  principal: [SnpGuest, PreLaunchGuest],
  resource: [Resource],
  context: { now: datetime, otherMachines: Long },
};
`.trim();
