// What oidc-provider asks of a storage, on Maps which all providers of this process share: a provider that was made anew, for its
// keys, goes on with the clients, sessions and tokens of the one before.
const records = new Map(); // "Model:id" -> { payload, until }
const byUid = new Map();
const byGrant = new Map(); // grant id -> set of keys of records
// What ends with its grant.
const granted = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken', 'DeviceCode', 'BackchannelAuthenticationRequest']);

export class SharedStorage {
  constructor(model) {
    this.model = model;
  }

  async upsert(id, payload, expiresIn) {
    const key = `${this.model}:${id}`;
    records.set(key, { payload, until: expiresIn === undefined ? Infinity : Date.now() + expiresIn * 1000 });
    if (this.model === 'Session') byUid.set(payload.uid, id);
    if (payload.grantId && granted.has(this.model)) {
      if (!byGrant.has(payload.grantId)) byGrant.set(payload.grantId, new Set());
      byGrant.get(payload.grantId).add(key);
    }
  }

  async find(id) {
    const found = records.get(`${this.model}:${id}`);
    return found && found.until > Date.now() ? found.payload : undefined;
  }

  async findByUid(uid) {
    return this.find(byUid.get(uid));
  }

  async consume(id) {
    const found = await this.find(id);
    if (found) found.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    records.delete(`${this.model}:${id}`);
  }

  async revokeByGrantId(grantId) {
    for (const key of byGrant.get(grantId) ?? []) records.delete(key);
    byGrant.delete(grantId);
  }
}
