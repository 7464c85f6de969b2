"""What Debian's own cloud-init makes of a seed: JSON on stdout. cloud-init.py FOLDER-OF-SEED WORK RENDERER"""
import json
import os
import sys

folder, work, kind = sys.argv[1:]

from cloudinit import distros, helpers, util
from cloudinit.net import eni, netplan, network_state, networkd
from cloudinit.sources import DataSourceNoCloud as nocloud

paths = helpers.Paths({"cloud_dir": work, "run_dir": work})
distro = distros.fetch("debian")("debian", {}, paths)
# The seed's own folder instead of a disk: nothing is mounted here.
config = {"datasource": {"NoCloud": {"seedfrom": None, "fs_label": None}}}
source = nocloud.DataSourceNoCloud(config, distro, paths)
source.seed_dirs = [folder]
source.ds_cfg = {"fs_label": None}
if not source.get_data():
    sys.exit("DataSourceNoCloud takes no data from the seed")

state = network_state.parse_net_config_data(source.network_config)
renderer = {"eni": eni, "netplan": netplan, "networkd": networkd}[kind].Renderer({})
target = os.path.join(work, "target")
util.ensure_dir(target)
renderer.render_network_state(state, target=target)
files = {}
for top, _, names in os.walk(target):
    for name in names:
        path = os.path.join(top, name)
        files[path[len(target):]] = open(path).read()

json.dump(
    {
        "instanceId": source.get_instance_id(),
        "hostname": getattr(source.get_hostname(), "hostname", source.get_hostname()),
        "keys": source.get_public_ssh_keys(),
        "userData": util.decode_binary(source.get_userdata_raw()),
        "vendorData": util.decode_binary(source.get_vendordata_raw()),
        "files": files,
    },
    sys.stdout,
)
