"""The cluster's certificates, service-account key and kubeconfigs."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 365

CLIENTS = {
    "admin": ("system:masters", "admin"),
    "controller-manager": (None, "system:kube-controller-manager"),
    "scheduler": (None, "system:kube-scheduler"),
    "kubelet": ("system:nodes", "system:node:{node}"),
    "proxy": (None, "system:kube-proxy"),
}
"""Group and user of each client certificate."""


def make_pki(folder: Path, server_names: Sequence[str], node: str, node_address: str) -> None:
    """Write ca, apiserver and client certificates with their keys, and the service-account key pair."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "klipstream-local-ca")])
    ca = _builder(subject, subject, ca_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    ca_certificate = ca.sign(ca_key, hashes.SHA256())
    _write(folder, "ca", ca_certificate, ca_key)

    def issue(name: str, group: str | None, user: str, alternatives: Sequence[str] = ()) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
        parts.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        builder = _builder(x509.Name(parts), subject, key).add_extension(usages, critical=False)
        if alternatives:
            names = x509.SubjectAlternativeName([_general_name(each) for each in alternatives])
            builder = builder.add_extension(names, critical=False)
        _write(folder, name, builder.sign(ca_key, hashes.SHA256()), key)

    issue("apiserver", None, "kube-apiserver", server_names)
    for name, (group, user) in CLIENTS.items():
        alternatives = [node, node_address, "127.0.0.1"] if name == "kubelet" else []
        issue(name, group, user.format(node=node), alternatives)
    account_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_key(folder / "service-accounts.key", account_key)
    public = account_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "service-accounts.pub").write_bytes(public)


def write_kubeconfigs(folder: Path, server: str) -> None:
    """One kubeconfig per client, beside the certificates."""
    for name in CLIENTS:
        cluster = {"server": server, "certificate-authority": str(folder / "ca.crt")}
        user = {"client-certificate": str(folder / f"{name}.crt"), "client-key": str(folder / f"{name}.key")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "klipstream", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "klipstream", "context": {"cluster": "klipstream", "user": name}}],
            "current-context": "klipstream",
        }
        path = folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        path.chmod(0o600)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_key(folder / f"{name}.key", key)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(pem)
