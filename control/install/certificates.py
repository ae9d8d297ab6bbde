"""A certificate for the webhook, made on the spot: an authority whose key is thrown away, and one server.

cryptography (of the extra `install`) does the work; it is imported when asked for.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from milliroute.control.errors import ConfigError
from milliroute.control.install.options import WEBHOOK, Certificate

# Ten years: nobody can renew it, so whoever wants shorter ones takes cert-manager or their own.
VALID = timedelta(days=3650)
# Clocks of API servers may be behind ours.
_SKEW = timedelta(hours=1)


def read(chain: str, key: str, authority: str) -> Certificate:
    """From PEM files. Raises ConfigError."""
    try:
        return Certificate(*(Path(path).read_text() for path in (chain, key, authority)))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"certificate of the webhook: {error}") from None


def make(namespace: str, now: datetime | None = None) -> Certificate:
    """For the webhook's Service in that namespace. Raises ConfigError when cryptography is not installed."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID
    except ImportError:
        want = "pip install 'milliroute[install]', --cert-manager, --webhook-cert or --no-webhook"
        raise ConfigError(f"a certificate for the webhook: cryptography is not installed, want {want}") from None
    begins = (now or datetime.now(UTC)) - _SKEW
    names = [f"{WEBHOOK}.{namespace}.svc", f"{WEBHOOK}.{namespace}.svc.cluster.local"]
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name, server_name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("milliroute webhook", WEBHOOK)
    )
    common = (
        x509.CertificateBuilder().issuer_name(authority_name).not_valid_before(begins).not_valid_after(begins + VALID)
    )
    authority = (
        common.subject_name(authority_name)
        .public_key(authority_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    server = (
        common.subject_name(server_name)
        .public_key(server_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return Certificate(server.public_bytes(pem).decode(), private.decode(), authority.public_bytes(pem).decode())
