from geoguide3d.cli.gpu_bundle import main

raise SystemExit(main())
