// Who may use the API, and for what.
export { type Attributes, attributesOf, isResource } from "./attributes.js";
export { Authenticator } from "./authenticator.js";
export { Authorizer, isDenial } from "./authorizer.js";
export { DEFAULT_CLUSTER_ROLE_BINDINGS, DEFAULT_CLUSTER_ROLES } from "./default-roles.js";
export { refuseEscalation } from "./escalation.js";
export { REVIEWS, registerReviews, SERVICES } from "./reviews.js";
export { loadTokenKey, makeTokenKey, ServiceAccountTokens } from "./service-account-tokens.js";
export { ADMIN, MASTERS, type User } from "./user.js";
