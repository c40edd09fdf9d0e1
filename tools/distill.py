from geoguide3d.cli.distill import main

raise SystemExit(main())
